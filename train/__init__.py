"""Training and measuring controllers, and the command line."""

from ..integrators.core.moved import attributes

__getattr__ = attributes(__name__)
