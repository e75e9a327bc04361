"""Colour: profiles, coded primaries and the way to sRGB and back."""
