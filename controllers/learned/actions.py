"""Actions: the numbers in [-1, 1] that a learned controller answers, and what each of them changes.

An action turns one knob of the base law's decision, by `move(a, scale)`, which is 0 at a = 0: no action is the law.
Knobs:

    size        the log of the next size over this one: move is added to the law's proposal
    threshold   the log of the scaled error up to which an attempt is accepted: move is added to the law's
    hold        the log of the width of the dead band in which size and LU factors are kept (implicit methods): added at
                both ends
    renewal     the log of the Newton rate above which the Jacobian is renewed (implicit methods): added to the law's

`decision` says how they act together.  A decision has one action on the size, and at most one on each of the others.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...integrators.checks.arrays_reached import indexes_arrays
from ...integrators.compile.digest import identity
from ...integrators.core import options
from ...integrators.core.binding import bind
from ...integrators.core.errors import OptionError, refuse, shown
from ...integrators.core.names import unknown

KNOBS = ("size", "threshold", "hold", "renewal")


def scaled(a, scale):
    """The action times its scale."""
    return scale * a


@dataclass(frozen=True)
class Action:
    """One action.

    knob     what it turns, one of `KNOBS`
    doc      what it is, in words
    scale    its scale where none is given
    most     the largest scale that is allowed
    move     `move(a, scale)`, by how much it turns the knob
    own      whether it was registered by a caller
    """

    name: str
    knob: str
    doc: str
    scale: float
    most: float
    move: Callable = scaled
    own: bool = False

    @property
    def key(self) -> object:
        """What is compiled: the name, and of a caller's own action what it computes."""
        return (self.name, self.knob, identity(self.move), self.scale) if self.own else self.name


# scales as literals: controller files hold them, and a logarithm may differ in its last bit between machines
ACTIONS: dict[str, Action] = {action.name: action for action in (
    Action("residual", "size", "factor of the size, 1/4.5 to 4.5 times the law's", 1.5, 10.0),
    Action(
        "threshold", "threshold", "acceptance threshold, a fifth of the law's to five times it", math.log(5.0),
        3.912023005428146,  # log 50
    ),
    Action(
        "hold", "hold", "width of the dead band, up to 1.35 times wider or narrower at each end",
        0.3001045924503381, 10.0,  # log 1.35
    ),
    Action(
        "refresh", "renewal", "Newton rate of a new Jacobian, a thousandth of the law's to a thousand times it",
        6.907755278982137, 10.0,  # log 1000
    ),
)}  # fmt: skip

#: the largest scale of an action on a knob, natural logarithms: what a controller file may hold
MOST = {"size": 10.0, "threshold": 3.912023005428146, "hold": 10.0, "renewal": 10.0}

#: the sets that a number of actions stands for
SETS: dict[int, tuple[str, ...]] = {
    1: ("residual",), 2: ("residual", "threshold"), 4: ("residual", "threshold", "hold", "refresh"),
}  # fmt: skip


def register(move: Callable, knob: str, scale: float, most: float | None = None, name: str | None = None) -> Action:
    """Let a caller's action be asked for by name wherever actions are named in this process.

    move     `move(a, scale)` with a in [-1, 1], 0 at a = 0: a branch-free formula over
             `stepsmith.integrators.core.formulas`, marked by `formula`; its docstring says what it is
    knob     what it turns, one of `KNOBS`
    scale    positive
    most     the largest scale that a decision may set; default `scale`
    name     what it is called; default `move.__name__`

    An action that was registered under the name before is replaced; decisions made before keep theirs.  OptionError for
    the name of an action that ships, and where something does not fit.
    """
    from ...integrators.compile.vecmath import NAMESPACE

    if not isinstance(move, types.FunctionType) or not getattr(move, "formula", False):
        raise refuse("move", "a function marked by stepsmith.integrators.core.formulas.formula", move)
    if indexes_arrays(bind(move, NAMESPACE, lambda helper: helper)):  # it is compiled without checks of indices
        raise OptionError("move must be made of numbers and stepsmith.integrators.core.formulas, not of arrays")
    name = options.text("name", move.__name__ if name is None else name)
    if name in ACTIONS and not ACTIONS[name].own:
        raise OptionError(f"action {shown(name)} ships with the package: give this one another name")
    options.choice("knob", knob, KNOBS)
    scale = options.positive("scale", scale)
    most = scale if most is None else options.positive("most", most)
    if max(scale, most) > MOST[knob]:
        raise OptionError(f"scale and most of an action on the {knob} must be at most {MOST[knob]:.4g}")
    for a in (-1.0, 0.0, 1.0):
        try:
            found = float(np.asarray(move(np.array([a]), scale), dtype=np.float64).reshape(()))
        except Exception as error:
            raise OptionError(
                f"move must be a function of an action and its scale that gives a number: {error}"
            ) from None
        if not math.isfinite(found) or (a == 0.0 and found != 0.0):
            raise OptionError(
                f"move must be finite, and 0 for the action 0 (which is the law), got {found:g} for {a:g}"
            )
    ACTIONS[name] = Action(name, knob, (move.__doc__ or "").strip(), scale, max(scale, most), move, own=True)
    return ACTIONS[name]


def chosen(names: Sequence[str]) -> tuple[Action, ...]:
    """The actions called `names`, in that order.

    ValueError for an unknown name (naming the nearest), two actions on one knob, and where none is on the size.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise refuse("actions", "a sequence of names", names)
    for name in names:
        if not isinstance(name, str) or name not in ACTIONS:
            raise unknown("action", name, ACTIONS)
    return together(tuple(ACTIONS[name] for name in names))


def together(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """`actions`; ValueError for two of them on one knob, and where none is on the size."""
    knobs = [action.knob for action in actions]
    twice = sorted({knob for knob in knobs if knobs.count(knob) > 1})
    if twice:
        names = ", ".join(action.name for action in actions if action.knob == twice[0])
        raise OptionError(f"actions: {names} all turn the {twice[0]}")
    if "size" not in knobs:
        raise OptionError("actions must hold one on the size, such as 'residual'")
    return actions


def standard(actions: tuple[Action, ...]) -> bool:
    """Whether the actions are the set that their number stands for."""
    return SETS.get(len(actions)) == tuple(action.name for action in actions)
