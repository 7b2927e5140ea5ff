"""Numerical integrators, and what they are made of: problems, methods, the compiler of kernels, the engine, checks,
torch.
"""

from .core.moved import attributes

__getattr__ = attributes(__name__)
