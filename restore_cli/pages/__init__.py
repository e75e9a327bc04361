"""HTML pages that need no other file: one style, tables, pictures and charts, and no script in them."""
