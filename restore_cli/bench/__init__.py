"""Measure networks: parameters, arithmetic, latency, memory, and the share of what the machine can do.

cases.py     what is measured: a network of the manifest at one size, batch, dtype and thread count
counts.py    parameters, Mult-Adds, FLOPs: exact integers, no arithmetic done
timing.py    latency after warm-up
memory.py    peak memory above the loaded process
machine.py   what the machine is, and its own ceilings
measure.py   one case in this process
apart.py     one case in a process of its own, so that no case inherits another's memory
report.py    all rows as JSON and CSV
table.py     all rows as a table for people
against.py   this report next to an earlier one
"""
