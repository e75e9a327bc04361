"""`python -m restore_cli` does what `restore` does."""

from restore_cli.cli.app import main

if __name__ == "__main__":
    main()
