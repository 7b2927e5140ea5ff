"""How `envs.state` reads a core whose lanes are rows of one block of numbers each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Layout:
    """Of a core's block of numbers, as `envs.state` reads it: one lane a block."""

    rows: dict[str, int]
    count: int

    def places(self) -> tuple[np.ndarray, int]:
        return np.arange(self.count), 0


@dataclass
class Rows:
    """What stands where, and how many lanes are in a block."""

    layout: Layout
    width: int = 1
