"""Writing files: the one atomic write, locks, and opening regular files."""
