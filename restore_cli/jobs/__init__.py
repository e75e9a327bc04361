"""Batches: which images, where results go, what is done already, and the pipeline that restores them."""
