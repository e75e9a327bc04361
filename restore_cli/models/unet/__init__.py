"""A small convolutional U-Net of our own that takes the noise level, enlarges and lightens."""
