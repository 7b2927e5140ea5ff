"""`hermite4`: see `hermite`."""

from .hermite import PECE as METHOD

__all__ = ["METHOD"]
