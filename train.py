"""Train a detector: `python train.py experiment=cutler_cascade [overrides]`. See conf/train.yaml for every setting."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
