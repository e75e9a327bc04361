"""The program's front door: what `restore` and `python -m restore_cli` run.

Signals are seen to before anything else is imported, so that an interruption in the first moments is an exit code too.
"""

from restore_cli.cli.signals import interruption_exit_code, is_interruption, leave, raise_on_sigterm


def main() -> None:
    """Run the program on the process's own arguments and exit."""
    raise_on_sigterm()
    try:
        from restore_cli.cli.app import main as run_program

        run_program()
    except BaseException as error:
        if not is_interruption(error):
            raise
        leave(interruption_exit_code())


if __name__ == "__main__":
    main()
