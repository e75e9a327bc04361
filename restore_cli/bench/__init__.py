"""Measure networks: parameters, arithmetic, latency, memory."""
