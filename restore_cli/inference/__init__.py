"""Stage 5, RUN: one image in memory (restorer), many files (pipeline), on the device that suits (device)."""
