"""RAMiT, the Reciprocal Attention Mixing Transformer (arXiv 2305.11474)."""
