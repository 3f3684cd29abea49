"""`python -m cutler_pl <command>` is `cutler <command>`."""

from cutler_pl.cli import main

if __name__ == "__main__":
    main()
