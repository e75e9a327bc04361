"""Restormer, the transformer whose attention runs over channels (arXiv 2111.09881)."""
