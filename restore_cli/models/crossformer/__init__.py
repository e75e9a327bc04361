"""CrossFormer and CrossFormer++, a backbone with its classifier (arXiv 2108.00154, 2303.06908)."""
