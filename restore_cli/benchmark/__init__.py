"""Measure networks: parameters, arithmetic, latency, memory, energy, and the share of what the machine can do."""
