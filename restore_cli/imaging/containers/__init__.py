"""File formats: what each container holds beside pixels, and how it is kept."""
