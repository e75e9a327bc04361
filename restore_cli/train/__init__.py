"""Train networks from folders of pictures."""
