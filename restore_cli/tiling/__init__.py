"""Stages 4 and 6, CUT and STITCH: integer boxes and blending weights; knows nothing of networks or files."""
