"""The program's front door: what `restore` and `python -m restore_cli` run.

Python's own handler makes an exception of Ctrl-C, which an import may swallow or turn into another one. So the system's
handlers stand from here until there is work that has to be finished or cleared away (see `cli.signals`).
"""

import signal


def main() -> None:
    """Run the program on the process's own arguments and exit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from restore_cli.cli.app import main as run_program

    run_program()


if __name__ == "__main__":
    main()
