"""Stage 1, ASK: argv to a request. Typer's public API only; nothing here imports torch at module level."""
