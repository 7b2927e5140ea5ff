"""Kernel of the three-body paper's environment: a decision is the accuracy parameter of all steps of the next 0.1 yr.

    h = mu tau_AMUSE,  Hermite PEC steps until t >= (k + 1) 0.1 yr (steps run over the mark, none is shortened)

As the paper's code calls its integrator once a decision, accelerations are evaluated anew when a decision begins and
once more when it ends (energies): two evaluations beside one a step.  Decisions take from one step to thousands, so
lanes are not tied to each other: they pass through one working block, whose lanes are filled again as they fall free.
Instances are drawn by SplitMix64 of the lane's key and its episode number, or taken in turn (lane l plays l, l + lanes,
...).

Energy error e = |(E - E0)/E0|, l = log10 e with e held within [1e-16, 0.1] for reward and observation.  Reward, with n
the decision's number from 1:

    -W0 (l + 10)/(|l|^3 n') + W2/|log10 mu|,    n' = n, or the harmonic mean of 1..steps where n is left out
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...compile.cache import load_module
from ...core.binding import bind
from ...core.contract import N_OUT
from .. import templates
from ..build import Kernel, Parts, header, substitute, wide_machine
from ..layout import block_layout
from . import paper_pieces, paper_places, splitmix
from .paper_places import CONSTS as CONSTS
from .paper_places import EPISODE as EPISODE

FLOOR = 1e-16  # least energy error told apart
SMALLEST = 1e-17  # yr: a step below fails (the closest of the paper's encounters asks for 1e-12)
MOST_STEPS = 1e6  # in a decision: more fail

ROWS = ("MU", "MARK", "TAU", "E0", "EREL", "RETURN", "LENGTH", "PAID", "OVER", "PAY", "NSTEPS", "LIVE", "GO", "BUSY")


def paper_kernel(parts: Parts, n: int, m: int, n_obs: int, width: int, invariant: Callable) -> Kernel:
    """Kernel of a Hermite method's parts; `invariant(t, y, p)` is the energy, n_obs n + 1 or (with the counter) n +
    2."""
    from ...compile.vecmath import NAMESPACE

    wide = width > 1 and wide_machine()
    lay = block_layout(width, n, m, parts.slopes, 0, N_OUT, parts.extra)
    for row in ROWS:
        lay.add(row)
    objects: dict[str, Any] = {"invariant": bind(invariant, NAMESPACE), **parts.objects}
    constants = "import numpy as np\n" + templates.constants(
        FLOOR=FLOOR, SMALLEST=SMALLEST, MOST_STEPS=MOST_STEPS, WIDE=wide, COUNTER=n_obs > n + 1,
        **templates.numbered(paper_places.__name__),
    )  # fmt: skip
    body = parts.attempt + "\n" + templates.text(splitmix) + templates.text(paper_pieces)
    body = substitute(body, lay, n, m, 0, wide)
    return Kernel(load_module(header(lay, n, m, 0) + constants + body, objects), lay, width)
