"""torchdiffeq: `odeint(func, y0, t, method=ctrl.for_torchdiffeq("dopri5"))`, `odeint_adjoint` and `odeint_event` too.

torchdiffeq has no controller object.  `method=` takes the name of a solver out of a table, and `method` makes such a
name: a string that stands in the table for as long as it lives, beside a subclass of torchdiffeq's own solver whose
step asks the controller where torchdiffeq computes a factor.  Tableaus, first step, interpolation, callbacks,
step_t and jump_t are torchdiffeq's.  Read against torchdiffeq 0.2.5; methods dopri5, dopri8, bosh3, adaptive_heun,
fehlberg2.

What is torchdiffeq's and stays
    One step size for the whole batch.  Sizes are held between the options min_step and max_step, and an attempt of
    min_step is accepted whatever the controller says, if it is finite.  A solve passes its last time and interpolates
    back (`even_steps` changes that).  The graph of a gradient holds accepted steps alone, and of step sizes only the
    automatic first one.
What differs
    The options safety, ifactor and dfactor are refused: a law has its own coefficients.  After a step that step_t or
    jump_t shortened, the solve goes on from the size that the controller had asked for; torchdiffeq goes on from the
    short one.  A state or slope that is not finite rejects the attempt; torchdiffeq accepts an infinite state, and
    gives up at the next step.  Failures are `SolveFailed`, an AssertionError as torchdiffeq's are.

The controller sees the error, the sizes, norms and the time left (not while an event is sought: the end is unknown
then), with dopri5, dopri8 and bosh3 the change of slope over the step, and with dopri5 and dopri8 the stiffness
estimate.  It decides on the host, in
compiled code; a step costs one transfer from the device.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from ...integrators.core import options as options_
from ...integrators.engine.trained_method import warn_once
from .fitting import fit, library
from .torchdiffeq_book import Book, Solve, SolveFailed
from .torchdiffeq_steps import Steered, impl, measured

__all__ = ["METHODS", "Method", "Solve", "SolveFailed", "method"]

#: torchdiffeq's adaptive Runge-Kutta methods, and the names of the same pairs here
METHODS = {"dopri5": "dopri5", "dopri8": "dopri8", "bosh3": "bs32", "adaptive_heun": "adaptive_heun",
           "fehlberg2": "fehlberg2"}  # fmt: skip

_SERIAL = itertools.count()


class Method(str):
    """What `method` returns: the name of a solver in torchdiffeq's table.

    It may be used for any number of solves, one after the other or in threads: each has a controller state of its own.
    Copies and pickles are methods of their own, with the same controller and options, and no past.
    """

    book: Book

    @property
    def stats(self) -> Solve | None:
        """The last solve that was not part of a backward pass, None where there was none."""
        return next((s for s in reversed(list(self.book.history)) if not s.adjoint), None)

    @property
    def history(self) -> list[Solve]:
        """The last 16 solves, the latest last; `Solve.adjoint` tells those of backward passes."""
        return list(self.book.history)

    def totals(self, restart: bool = False) -> dict[str, int]:
        """Counts over all solves: "nfev", "solves" and, of backward passes, "nfev_adjoint", "solves_adjoint".

        restart: count from 0 again after this, which gives the counts of a training step where it is asked for in each.
        """
        return self.book.totals(options_.flag("restart", restart))

    def reset(self) -> None:
        """Forget the sizes of a warm start: the next solves choose their first step themselves."""
        self.book.forget()

    def __reduce__(self) -> tuple[Any, ...]:
        book = self.book
        return _again, (book.controller, book.base, book.warm_start, book.even_steps)

    def __copy__(self) -> Method:
        return _again(*self.__reduce__()[1])

    def __deepcopy__(self, memo: dict[int, Any]) -> Method:
        # controllers are immutable, and not all of them can be copied
        return _again(*self.__reduce__()[1])


def method(controller: Any, method: str = "dopri5", *, warm_start: bool = False, even_steps: bool = False) -> Method:
    """The name to hand to `torchdiffeq.odeint(func, y0, t, method=...)`, under which `controller` chooses the steps.

    controller  an object of the contract, such as `stepsmith.controller("pi34")`
    method      torchdiffeq's method: "dopri5", "dopri8", "bosh3", "adaptive_heun" or "fehlberg2"
    warm_start  True: a solve begins with the size that suited the first step of the last one of its kind: of equal
                shape (but for the first of several axes, the batch) and dtype of the state, tolerances, first time and
                direction.  It saves an evaluation and the small steps that recover from an automatic size.  A solve
                then depends on those before it; `reset()` forgets them
    even_steps  True: a step is the largest of equal ones that are no longer than the controller asks for and that end
                at the last time, left / ceil(left / want).  Nothing is evaluated beyond that time, and step sizes have
                no gradient.  Not with events, whose end is unknown

    It serves `odeint_adjoint` in both passes (or as `adjoint_method` in one), `odeint_event`, tuples as states, and
    every option of torchdiffeq's solver but safety, ifactor and dfactor.  See `stats`, `history`, `totals()`.

    Raises ImportError without torchdiffeq, TypeError for what is no controller, OptionError for an unknown method, and
    ValueError for a controller that reads what the method does not measure.  A solve raises `SolveFailed` (an
    AssertionError) where it cannot reach its end, and ValueError for options that do not go together.
    """
    library("torchdiffeq", "0.2.5", "0.3")
    base = options_.choice("method", method, METHODS)
    warm_start, even_steps = options_.flag("warm_start", warm_start), options_.flag("even_steps", even_steps)
    solver = impl("odeint").SOLVERS[base]
    fit(controller, f"torchdiffeq's {base}", measured(solver))
    warn_once(controller, METHODS[base], f"torchdiffeq's {base}")
    return _again(controller, base, warm_start, even_steps)


def _again(controller: Any, base: str, warm_start: bool, even_steps: bool) -> Method:
    """A new method of these parts, with a solver of its own in torchdiffeq's table."""
    solvers = impl("odeint").SOLVERS
    name = f"{base} under {getattr(controller, 'name', 'a controller')} ({next(_SERIAL)})"
    made = Method(name)
    made.book = Book(controller, base, warm_start, even_steps)
    solvers[name] = type("Steered" + solvers[base].__name__, (Steered, solvers[base]), {"book": made.book})
    # the solver holds the book alone: the method is free to go, and its place in the table with it
    weakref.finalize(made, solvers.pop, name, None).atexit = False
    return made
