"""Learned controllers: what they observe, what they may change (actions), how that becomes a step (decision), and the
network.
"""

from .network import SQUASHES, Learned

__all__ = ["SQUASHES", "Learned"]
