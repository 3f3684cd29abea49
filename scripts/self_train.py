"""Make the annotations of the next self-training round; see conf/self_train.yaml."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
