"""`hermite4_pec`: see `hermite`."""

from .hermite import PEC as METHOD

__all__ = ["METHOD"]
