"""HTML pages that need no other file: one style, tables, images and charts, and no script in them."""
