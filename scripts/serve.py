"""An HTTP API: `python scripts/serve.py checkpoint=<name|file> port=8080`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
