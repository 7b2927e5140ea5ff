"""Controllers: classical laws, learned ones, their files, the zoo."""

from ..integrators.core.moved import attributes

__getattr__ = attributes(__name__)
