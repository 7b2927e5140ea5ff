"""Kernels of stochastic differential equations: one loop over paths, each with a clock of its own.

attempts   one trial step of each method
motion     the Brownian motion of a path, from memory or from a tree
loop       a path from its start to its end, and the paths one after the other
build      the generated module of a problem, a method and a controller's structure
"""
