"""Diffrax: `diffeqsolve(..., stepsize_controller=ctrl.for_diffrax(rtol, atol))`, in the place of its PIDController.

Diffrax has an interface for step size controllers, which `diffrax_controller.StepSizeController` implements.  It is a
PyTree: the controller's parameters are one array leaf, its structure is static, so that other weights or another law of
the same structure run in the program that is compiled already.  jit, vmap, gradients, implicit solvers, events,
restarts and `diffrax.ClipStepSizeController` around it work as with a PIDController.  Read against diffrax 0.7.2 and
JAX 0.10.

What the controller sees: the error, the sizes, the order, the norms of state and error, the time left.  Diffrax shows
neither stages nor stiffness nor counts; a learned controller that reads them is refused by name.  One that was
trained with another method than the solver's is warned of while the first solve is traced.

    ERR     norm(error / (atol + rtol max(|y0|, |y1|))) with `norm`, which is diffrax's own rms norm unless given
    ORDER   diffrax's error order, 5 for Dopri5, Tsit5 and Kvaerno5, 3 for Bosh3, 8 for Dopri8; it is our k
    YNORM   norm(y0 / scale);  ENORM: greatest component over the rms of the scaled error, whatever `norm` is

What is diffrax's and stays: the tableaus and their error weights (other than SciPy's for Dormand-Prince), the landing
on t1, and the tolerances of the nonlinear solvers, which are those that the controller works at.  What goes:
PIDController's factors .9, .2 and 10, in whose place the law's own stand, and its first size where `dt0` is None
(`diffrax_start` says why).  A dt0 that is NaN means the same as None, which diffrax lets pass.

Traps.  A controller never learns t1 but in `init`, which diffrax does not use where it is given a `controller_state`:
`continued` puts the new end into such a state.  A nonlinear solve that fails arrives as an infinite error, and an
explicit method's NaN as one too; such attempts, and those whose new state is not finite, are never accepted.  A
PIDController goes on shrinking until `max_steps`; here a rejected size below ten spacings of the time variable ends the
solve with `RESULTS.dt_min_reached`, as it does in this package's own engine, and so does a size that is no number.

Gradients flow as through a PIDController: what decides carries none, the parameters get none.  Everything is for
ordinary differential equations; with stochastic ones nothing has been trained or tested.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...integrators.core import options
from .fitting import ENDS, NORMS, TIER0, fit, library

#: record slots that diffrax lets an adapter fill
SLOTS = TIER0 | NORMS | ENDS


@options.named
def step_size_controller(
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    *,
    norm: Callable[[Any], Any] | None = None,
    dtmin: Any = None,
    dtmax: Any = None,
    force_dtmin: bool = True,
    even_steps: bool = False,
    error_order: Any = None,
    warm_start: bool = False,
) -> Any:
    """The step size controller to hand to `diffrax.diffeqsolve(..., stepsize_controller=...)`, a
    `diffrax_controller.StepSizeController`.

    controller   a law or a learned controller
    rtol, atol   tolerances, numbers of at least 0 (or traced scalars); the solve works at the controller's tolerance
                 scale times both
    norm         of a PyTree like the state; None: rms.  With BacksolveAdjoint diffrax.adjoint_rms_seminorm
    dtmin        smallest size, positive.  force_dtmin: what would be smaller is taken at this size and accepted
                 whatever its error, if it is finite; else the solve ends with `RESULTS.dt_min_reached`
    dtmax        largest size, positive
    even_steps   every step is the largest of equal ones to the end that are no longer than the controller asks for,
                 so that no short step is left for the end
    error_order  order of the error estimate (diffrax's), for solvers that do not tell it
    warm_start   must be False: a solve is a pure function and remembers nothing.  Carry the size yourself:

        sol = diffeqsolve(..., dt0=dt0, stepsize_controller=ctrl, saveat=SaveAt(t1=True, controller_state=True))
        dt0 = ctrl.first_size(sol.controller_state)

                 A first dt0 of jnp.array(jnp.nan, t0.dtype) means to choose it, in the program that the others run in

    Raises TypeError for what is no controller, ValueError for one that reads what diffrax does not show, by the names
    of its features, OptionError (ValueError and TypeError) for an option, ImportError where diffrax is missing.
    """
    library("diffrax", "0.7.2", "0.8")
    from .diffrax_controller import make

    fit(controller, "diffrax", SLOTS)
    if options.flag("warm_start", warm_start):
        raise options.OptionError(
            "warm_start must be False in diffrax, whose solves remember nothing: pass dt0=ctrl.first_size("
            "sol.controller_state) of the last solve, saved by SaveAt(t1=True, controller_state=True)"
        )
    if norm is not None and not callable(norm):
        raise options.refuse("norm", "a function of a PyTree or None", norm)
    low = options.positive("dtmin", dtmin, none=True)
    high = options.positive("dtmax", dtmax, none=True)
    if low is not None and high is not None and low > high:
        raise options.OptionError(f"dtmin must be at most dtmax, got {low:g} and {high:g}")
    return make(
        controller,
        (rtol, atol),
        norm,
        (low, high),
        force_dtmin=options.flag("force_dtmin", force_dtmin),
        even_steps=options.flag("even_steps", even_steps),
        error_order=options.positive("error_order", error_order, none=True),
    )
