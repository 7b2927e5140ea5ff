"""Adam for one number, in plain floats that a checkpoint can hold: D. P. Kingma, J. Ba, ICLR 2015, algorithm 1."""

from __future__ import annotations

import math

FIRST, SECOND, SMALL = 0.9, 0.999, 1e-8


def step(moments: list[float], gradient: float, rate: float) -> tuple[list[float], float]:
    """New moments, and what to add to the number.

    moments: [steps so far, running mean of the gradient, of its square], [0, 0, 0] at first.
    """
    count = moments[0] + 1
    first = FIRST * moments[1] + (1 - FIRST) * gradient
    second = SECOND * moments[2] + (1 - SECOND) * gradient**2
    mean, square = first / (1 - FIRST**count), second / (1 - SECOND**count)
    return [count, first, second], -rate * mean / (math.sqrt(square) + SMALL)
