"""Stages 3 and 7, READ and WRITE: files to float32 pixels and back; the only place that touches Pillow."""
