"""Template modules: pieces of kernels as Python functions, whose text goes into generated modules
(`kernels.templates`).

Names that are bound by the generated module stand in `kernels.slots` and in `slots` beside this file; whoever puts the
module together writes what they are there.

What is one function is optimised as one: a piece that is cut in two, or joined with another, may come out with other
last bits (which products are contracted with which sums) and with another speed.  Look at both
(`benchmarks/same_numbers.py`, `benchmarks/lorenz_ensemble.py`) when you do.
"""
