"""Template modules: pieces of kernels as Python functions, whose text goes into generated modules
(`kernels.templates`).

A capital name that a template assigns itself stands for a constant of the generated module, as those of `kernels.slots`
do: what it is there is written by whoever puts the module together.
"""
