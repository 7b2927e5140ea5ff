"""`python -m stepsmith`: the command line."""

from .train.cli import main

if __name__ == "__main__":
    main()
