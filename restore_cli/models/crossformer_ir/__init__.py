"""CrossFormer-IR, a restoration network of our own made of CrossFormer's parts."""
