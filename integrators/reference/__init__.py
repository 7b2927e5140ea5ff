"""Reference solutions, by methods of their own, and sensitivities."""

from .gbs import reference as reference
