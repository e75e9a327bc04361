"""HTML pages that need no other file: one style, tables, images, charts, and a slider between two images."""
