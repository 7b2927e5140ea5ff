"""Source of one trial step of the Runge-Kutta-Chebyshev method, a lane at a time (the formulas:
`methods.stabilised.rkc`).

A step costs as many evaluations as it has stages: the slope at its end, which the error estimate takes, is the next
step's first.

Stages.  With the spectral radius rho at the step's start there are s = 1 + sqrt(1 + 1.54 h rho) of them.  Round-off
grows as s^2, and s may not exceed sqrt(r/(10 eps)), at least 2, with eps the distance of 1 from the next number and r
the relative tolerance, to which the smallest absolute one counts beside the largest component of |y| + |h f| (rkc.f has
rtol alone).  It may not exceed 20,000 either, so that `max_steps` bounds the work.
An attempt that asks for more is made with the size that this many stages allow: the record and the decision are those
of that size.  Where it is below what the time variable resolves, the lane ends.

Spectral radius.  The problem's own where it has one, a number or a function, evaluated at each step's start.  Else the
nonlinear power method of rkc.f: v <- f(t, y + d v/|v|) - f(t, y), with d = sqrt(eps) (|y| + |h f|) in the 2-norm, until
two ratios |f(t, y + d v/|v|) - f(t, y)|/d differ by 1 percent or less; 1.2 times the last one is rho.  It is found
before the first step, after 25 accepted steps, and after a rejection where it is not that of this state; v is kept from
one time to the next.  Its evaluations are counted.

Where this deviates from rkc.f: the first v is rough, not the slope, which for smooth states holds next to nothing of
the largest eigenvalue's eigenvector; |h f| stands in d for states at or near 0; and where 50 iterations do not settle,
as under a Jacobian that is far from normal, 1.2 times the largest ratio is taken, where rkc.f gives up.  (The product
of the ratios is |J^50 v|/|v|, so that the largest is about rho at least.)

A rho that is too small makes a step unstable.  The error estimate sees what grows in it, the step is rejected, and rho
is found anew.
"""

from __future__ import annotations

from typing import Any

from ..checks import rhs_check
from ..core import record
from ..methods.stabilised.rkc import EPS, PER
from . import calls, layout
from .pieces import fsal, interpolate, rkc
from .start import start_source
from .templates import constants, text

EVERY = 25.0  # accepted steps after which the spectral radius is found anew
POWERS = 50  # most iterations of the power method
SETTLED = 0.01  # relative change of its ratio at which it ends
SAFETY = 1.2  # the spectral radius over that ratio

#: rows of a lane, see `pieces.rkc`
ROWS = ("RHO", "STAGE_COUNT", "RENEW", "HERE", "STEPS_SINCE", "FOUND", "FAULT")


class _Start:
    """The first size is chosen for order 2."""

    embedded_order = 2


def rkc_parts(source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from .build import Parts

    given = source.spectral_radius
    n, own = source.n, callable(given)
    lines = "".join(f"{name} = X + {i}*W\n" for i, name in enumerate(ROWS)) + f"VECTOR = X + {len(ROWS)}*W\n"
    lines += constants(
        EPS=2.220446049250313e-16,
        DAMPING=EPS,
        PER=PER,
        EVERY=1.0 if own else EVERY if given is None else 1e300,
        POWERS=POWERS,
        SETTLED=SETTLED,
        SAFETY=SAFETY,
        CALLS_RADIUS=own,
        GIVEN_RADIUS=0.0 if own or given is None else float(given),
        FINDS_RADIUS=given is None,
        BAD_RADIUS=layout.BAD_RADIUS,
        WANTS_ENORM=record.ENORM in slots,
        WANTS_YNORM=record.YNORM in slots,
    )
    objects = {"rhs": source.rhs}
    if own:
        objects["spectral_radius"] = given
        lines += calls.guard("spectral_radius", True, rhs_check.indexes_arrays(given))
    else:
        lines += "spectral_radius = None\n"
    attempt = (rkc.slope_into, rkc.find_radius, rkc.know_radius, rkc.most_stages, rkc.bound_size, rkc.stages,
               rkc.measure, rkc.attempt_lane, rkc.attempt)  # fmt: skip
    fresh = {"RENEW": 1.0, "HERE": 0.0, "STEPS_SINCE": 0.0, "FOUND": 0.0, "FAULT": 0.0, "DONE": 0.0}
    marks = "".join(f"A[{name} + l] = where(fresh, {value!r}, A[{name} + l])\n" for name, value in fresh.items())
    dense = text(rkc.prepare_dense, rkc.dense_component, interpolate.dense)
    carry = "K_END = K1\n\n\n" + text(fsal.carry)
    extra = len(ROWS) + (n if given is None else 0)
    start = start_source(_Start(), n, marks)
    return Parts(
        lines + "\n\n" + text(*attempt), start, dense, carry, 3, extra, objects, marks=text(rkc.marks), degree=3,
    )  # fmt: skip
