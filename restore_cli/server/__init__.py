"""The local server: a page to drop images on, and the same over HTTP; needs the extra `serve`."""
