"""Measure networks: parameters, arithmetic, latency, memory, energy, and the share of what the machine can do.

cases.py      what is measured: a network of the manifest under one set of conditions
counts.py     parameters, Mult-Adds, FLOPs, traffic: exact integers, no arithmetic done
workloads.py  what is run: the network alone, or an image through the engine
timing.py     latency after warm-up
memory.py     peak memory above the loaded process
energy.py     energy, where the hardware counts it
machine.py    what the machine is, and its own ceilings
measure.py    one case in this process
process.py    one case in a process of its own, so that no case inherits another's memory
rows.py       a case, its counts and its measurement as one row
growth.py     how straight time and memory grow with pixels
report.py     all rows as JSON and CSV
against.py    this report next to an earlier one
figures.py    figures as people read them
table.py      all rows as a table for people
charts.py     what is drawn of them
page.py       all of it as one HTML page
"""
