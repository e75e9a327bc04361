"""The registry: what exists (manifest), where it lies (store), and how it becomes a network (load)."""
