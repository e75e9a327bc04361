"""What networks are made of: bands of an image, contexts, products, groups of tokens, maps, tensors."""
