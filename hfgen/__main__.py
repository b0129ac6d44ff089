"""`python -m hfgen` is the `hfgen` program."""

from hfgen.cli.main import main

if __name__ == "__main__":
    main()
