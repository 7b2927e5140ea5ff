"""Brownian motion for solvers of stochastic differential equations: counter-based normals and the exact bridge.

counter     random numbers that are a function of (seed, path, counter): no state, the same on every machine
normal      the normal quantile function, scalar for compiled code and over NumPy arrays
bridge      a Brownian increment with its space-time Levy area: drawn, split at a time inside, joined

The functions are plain Python over `+ - * /`, shifts and `sqrt`: Numba compiles them as they are, NumPy runs `counter`
and `bridge` over arrays, and so does torch with int64 tensors and its own `sqrt` (`core.binding.bind`).
"""
