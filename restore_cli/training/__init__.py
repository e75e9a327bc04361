"""Train networks from folders of images."""
