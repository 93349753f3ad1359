"""`python -m vadis` is the command `vadis`."""

from vadis.cli import main

if __name__ == "__main__":
    main()
