"""Pure functions that score a restored image against the truth, in float64, under named protocols."""
