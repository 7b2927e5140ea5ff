"""Tolerances that mean what they mean in another library.

A tolerance bounds an estimate of the error of one step.  What error a solve has at a tolerance depends on the method,
on the law (torchdiffeq's aims at .59 of the tolerance in every step, the law "pi34" at .17), on whether the last step
oversteps the end and is interpolated, and on what a library takes for the estimate.  At the same numbers torchdiffeq is
the less accurate one, and the cheaper one.  `as_in` makes tolerances comparable: it multiplies them by the largest
factor at which, on eighteen of twenty fields of neural differential equations, the error is no larger than
torchdiffeq's at the same rtol, in the geometric mean over rtol = 1e-3 ... 1e-9 (`benchmarks/equal_tolerance.py`, which
prints the table).

The factors are typical ones; `calibrate` measures that of one model.
"""

from __future__ import annotations

from typing import Any

from ..controllers.laws import registry
from ..controllers.laws.law import Law
from ..integrators.core import options, tolerance_scale
from ..integrators.core.errors import OptionError
from ..integrators.methods.tableaus import get as get_tableau

#: the libraries whose tolerances are known
HOSTS = ("torchdiffeq",)
#: law -> method -> factors without and with `even_steps` and `first_step="bold"`; bs32 is torchdiffeq's
#: bosh3, and those of tsit5 count from torchdiffeq's dopri5
SCALES: dict[str, dict[str, tuple[float, float]]] = {
    "torchdiffeq": {"dopri5": (1.47, 1.5), "tsit5": (1.8, 2.28), "bs32": (2.3, 2.5), "dopri8": (1.3, 1.0)},
    "universal_law": {"dopri5": (7.2, 4.8), "tsit5": (8.0, 5.5)},
    "pi34": {"dopri5": (7.3, 6.3), "tsit5": (8.8, 7.5)},
}


def as_in(host: str | None, controller: Any, method: Any, eased: bool | None) -> Any:
    """`controller`, which then works at tolerances that mean what they mean in `host`; None: as it is.

    eased: whether steps are even and the start is bold, as `easing` says.

    Raises OptionError for an unknown host, and where the factor is not known: for a method or a law that is not in
    `SCALES`, a law with other coefficients, a learned controller, one with a tolerance scale of its own.
    """
    if host is None:
        return controller
    options.choice("tolerance", host, HOSTS)
    name = get_tableau(method).name
    factor = known(controller, name, eased)
    if factor is None:
        laws = "; ".join(f"{law} with {', '.join(methods)}" for law, methods in SCALES.items())
        raise OptionError(
            f"tolerance={host!r} is known for the laws {laws}, and not for "
            f"{getattr(controller, 'name', type(controller).__name__)!r} with {name!r}: "
            f"stepsmith.neural.calibrate(func, y0, t, like={host!r}) finds the tolerance for one model"
        )
    return controller.replace(tolerance_scale=factor)


def easing(even_steps: Any, first_step: Any, warm_start: Any = False, steps: str = "plain") -> bool | None:
    """Whether a solve has even steps and a bold start: True for both, False for neither; None where it has one of
    them, or a warm start, which were not measured alone, or where steps="auto" decides.  OptionError for what is no
    truth value."""
    bold = isinstance(first_step, str) and first_step == "bold"  # else it may be an array
    even_steps, warm_start = options.flag("even_steps", even_steps), options.flag("warm_start", warm_start)
    if even_steps and bold and not warm_start:
        return True
    return None if even_steps or bold or warm_start or (isinstance(steps, str) and steps != "plain") else False


def known(controller: Any, method: str, eased: bool | None) -> float | None:
    """The factor of a registered law with the method of that name, `eased` as `easing` says, the smaller one for None;
    None where it was not measured."""
    if not isinstance(controller, Law) or tolerance_scale.of(controller) != 1.0:
        return None
    factors = SCALES.get(controller.name, {}).get(method)
    if factors is None or controller.as_dict() != registry.get(controller.name).as_dict():
        return None
    return min(factors) if eased is None else factors[eased]
