"""Score weights on folders of pictures under a named protocol."""
