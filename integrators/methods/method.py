"""What a method is to the engine: a `Method`, one for each file of coefficients or kernels.

A file of a method exports one, `METHOD`, and stands in the registry with one line (`methods.places`).  Tests,
`stepsmith list methods`, error messages and the table in the documentation are made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core import record
from ..core.errors import shown
from .explicit.tableau import ExplicitTableau

#: optional record slots: filled only for controllers that read them (a method may fill some at all times)
TIME_SCALES = frozenset({record.TAU_AMUSE, record.TAU_AARSETH, record.TAU_PRS})
OPTIONAL = frozenset({record.ERR, record.HS, record.CURV, record.YNORM, record.ENORM}) | TIME_SCALES

#: slots that every method fills, those of methods that solve linear systems, and those of Newton's iteration
COMMON = frozenset({
    record.H, record.H_FREE, record.NF, record.T_LEFT, record.SPAN, record.TRUNCATED, record.FINITE, record.RTOL
})  # fmt: skip
LINEAR_ALGEBRA = frozenset({record.NJAC, record.NLU, record.NSOLVE, record.JAC_AGE, record.LU_AGE})
NEWTON = frozenset({record.NEWTON_ITERS, record.NEWTON_RATE, record.LU_SHIFT})

DEVICES = ("cpu", "cuda", "torch")
#: name of the law that explicit methods have where no controller is named
UNIVERSAL = "universal_law"


@dataclass(frozen=True)
class Method:
    """An integration method.

    name            what it is called wherever a method is named
    doc             one line: what it is
    source          where it was published
    order           of the solution that is advanced
    embedded_order  the error estimate behaves as h^(embedded_order + 1); 0: it has no estimate
    dense_order     of its interpolant
    fills           record slots that it can fill
    parts           `parts(source, slots)`: what it contributes to a kernel for a Problem or Batch
                    (`kernels.build.Parts`)
    key             `key(source)`: what tells its kernels apart beside the name
    devices         where it runs, of `DEVICES`
    uses            the function of the problem that it evaluates: "rhs"; "accel" for methods of second-order systems;
                    "both": accelerations in its stages, the right-hand side for what else asks for slopes
    implicit        it solves linear systems
    factor_pairs    its factorisations come in pairs, a real and a complex one (`engine.costs` counts them as two)
    tableau         of an explicit Runge-Kutta pair, else None
    mass            it solves M y' = f(t, y) with a mass matrix M
    radius          it takes the spectral radius of df/dy, the problem's own (`spectral_radius`) where there is one
    law             name of the law that chooses its steps where no controller is named; "" for a method without an
                    error estimate, for which a controller has to be named
    """

    name: str
    doc: str
    source: str
    order: int
    embedded_order: int
    dense_order: int
    fills: frozenset[int]
    parts: Callable[[Any, frozenset[int]], Any]
    key: Callable[[Any], tuple]
    devices: tuple[str, ...] = ("cpu",)
    uses: str = "rhs"
    implicit: bool = False
    factor_pairs: bool = False
    tableau: ExplicitTableau | None = None
    law: str = UNIVERSAL
    mass: bool = False
    radius: bool = False

    def own_law(self) -> str:
        """`law`; ValueError for a method that has none."""
        if not self.law:
            raise ValueError(
                f"method {shown(self.name)} has no error estimate to choose steps by: name a controller, such as "
                "the criterion 'amuse' of N-body problems"
            )
        return self.law
