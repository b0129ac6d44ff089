"""`python -m hfgen` is the `hfgen` program."""

from hfgen.cli.program.main import main

if __name__ == "__main__":
    main()
