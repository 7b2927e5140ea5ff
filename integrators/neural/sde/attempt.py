"""One trial step of every method for SDEs, over rows of a batch, in plain torch operations, which are differentiable.

The formulas stand beside the methods' descriptions (`methods/sde/`).  With scalar noise W and H have one column, which
broadcasts over the state's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...methods import sde
from ...methods.sde import SDEMethod
from ...methods.sde.sri import SRI

Tensor = torch.Tensor
#: drift or diffusion: (t (lanes,), y (lanes, width)) -> (lanes, width)
Field = Callable[[Tensor, Tensor], Tensor]
#: the drift and the diffusion at the start of a step
Start = tuple[Tensor, Tensor]


@dataclass
class Trial:
    """What a trial step leaves; all (rows, width).

    y1      state at its end.
    error   the estimate e that the tolerance is held against; None where none was asked for.
    other   the state that the tolerance's size comes from beside y: y1, or Euler's where the method's scale is "max".
    start   drift and diffusion at the step's start.
    pair    differences k_j - k_i and H0_j - H0_i of the method's stiffness estimate; None without.
    """

    y1: Tensor
    error: Tensor | None
    other: Tensor
    start: Start
    pair: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Step:
    """A step to be tried.

    t      (lanes,) its start, in the dtype that fields take.
    h      (lanes,) its size, in the state's dtype; `column`, as (lanes, 1).
    w      (rows, noises) increment, `levy` its Levy area or None, in the state's dtype.
    """

    t: Tensor
    h: Tensor
    w: Tensor
    levy: Tensor | None

    @property
    def column(self) -> Tensor:
        return self.h[:, None]

    def at(self, node: float) -> Tensor:
        """The time t + node h."""
        return self.t if node == 0.0 else self.t + (self.h if node == 1.0 else self.h * node)

    @property
    def c2(self) -> Tensor:
        """W/2 + H: the integral of W over the step, by h."""
        assert self.levy is not None  # the method asks for it
        return 0.5 * self.w + self.levy


def attempt(
    method: SDEMethod, f: Field, g: Field, step: Step, y: Tensor, start: Start | None = None, estimate: bool = True
) -> Trial:
    """Try `step` from y (rows, width).  start: f and g at its start, where they are known.  estimate: make the error
    estimate too."""
    if start is None:
        start = f(step.t, y), g(step.t, y)
    if method.sri is not None:
        return _sri(method, method.sri, f, g, step, y, start)
    if method.name == "sra1":
        return _sra1(method, f, g, step, y, start, estimate)
    return _RULES[method.name](f, g, step, y, start, estimate)


def _euler_maruyama(f: Field, g: Field, s: Step, y: Tensor, start: Start, estimate: bool) -> Trial:
    (f0, g0), h = start, s.column
    ahead = y + h * f0
    y1 = ahead + s.w * g0
    if not estimate:
        return Trial(y1, None, y1, start)
    later = s.at(1.0)
    return Trial(y1, 0.5 * h * (f(later, ahead) - f0) + 0.5 * s.w * (g(later, y) - g0), y1, start)


def _euler_heun(f: Field, g: Field, s: Step, y: Tensor, start: Start, estimate: bool) -> Trial:
    (f0, g0), h, later = start, s.column, s.at(1.0)
    g1 = g(later, y + s.w * g0)
    y1 = y + h * f0 + 0.5 * s.w * (g0 + g1)
    if not estimate:
        return Trial(y1, None, y1, start)
    return Trial(y1, 0.5 * h * (f(later, y + h * f0) - f0) + 0.5 * s.w * (g1 - g0), y1, start)


def _milstein_ito(f: Field, g: Field, s: Step, y: Tensor, start: Start, estimate: bool) -> Trial:
    (f0, g0), h, later = start, s.column, s.at(1.0)
    root, ahead = h.sqrt(), y + h * f0
    term = (g(later, ahead + root * g0) - g0) * (0.5 * (s.w * s.w - h) / root)
    y1 = ahead + s.w * g0 + term
    return Trial(y1, 0.5 * h * (f(later, ahead) - f0) + term if estimate else None, y1, start)


def _milstein_stratonovich(f: Field, g: Field, s: Step, y: Tensor, start: Start, estimate: bool) -> Trial:
    (f0, g0), h, later = start, s.column, s.at(1.0)
    root, ahead = h.sqrt(), y + h * f0
    slope = (g(s.t, y + root * g0) - g(s.t, y - root * g0)) / (2.0 * root)
    term = 0.5 * s.w * s.w * slope
    y1 = ahead + s.w * g0 + term
    if not estimate:
        return Trial(y1, None, y1, start)
    error = 0.5 * h * (f(later, ahead) - f0) + term + 0.5 * s.w * (g(later, y) - g0)
    return Trial(y1, error, y1, start)


def _stochastic_heun(f: Field, g: Field, s: Step, y: Tensor, start: Start, estimate: bool) -> Trial:
    (f0, g0), h, later = start, s.column, s.at(1.0)
    euler = y + h * f0 + s.w * g0
    error = 0.5 * h * (f(later, euler) - f0) + 0.5 * s.w * (g(later, euler) - g0)
    y1 = euler + error
    return Trial(y1, error, y1, start)


def _gotta_go_fast(f: Field, g: Field, s: Step, y: Tensor, start: Start, estimate: bool) -> Trial:
    trial = _stochastic_heun(f, g, s, y, start, estimate)
    assert trial.error is not None  # Heun's always is
    trial.other = trial.y1 - trial.error
    return trial


def _sra1(method: SDEMethod, f: Field, g: Field, s: Step, y: Tensor, start: Start, estimate: bool) -> Trial:
    (f0, g0), h = start, s.column
    g1, k1 = g(s.at(1.0), y), h * f0
    k2 = h * f(s.at(0.75), y + 0.75 * k1 + 1.5 * s.c2 * g1)
    e2 = s.c2 * (g0 - g1)
    y1 = y + (k1 + 2.0 * k2) / 3.0 + s.w * g1 + e2
    d1, d2 = (float(s) for s in method.slopes)
    return Trial(y1, d1 * k1 + d2 * k2 + e2 if estimate else None, y1, start)


_RULES = {
    "euler_maruyama": _euler_maruyama,
    "euler_heun": _euler_heun,
    "milstein_ito": _milstein_ito,
    "milstein_stratonovich": _milstein_stratonovich,
    "stochastic_heun": _stochastic_heun,
    "gotta_go_fast": _gotta_go_fast,
}


@functools.cache
def _plain(name: str) -> tuple[tuple[int | None, ...], dict[str, tuple]]:
    """The drift's stages of a method, and the rows of its table by name as floats."""
    tab = sde.get(name).sri
    assert tab is not None  # asked of methods that have one
    one = {row: getattr(tab, row) for row in ("alpha", "beta1", "beta2", "beta3", "beta4", "c0", "c1")}
    found: dict[str, tuple] = {row: tuple(map(float, values)) for row, values in one.items()}
    for row in ("a0", "a1", "b0", "b1"):
        found[row] = tuple(tuple(map(float, values)) for values in getattr(tab, row))
    return tab.drift_stages(), found


def _sri(method: SDEMethod, tab: SRI, f: Field, g: Field, s: Step, y: Tensor, start: Start) -> Trial:
    h, c2, (drift, row) = s.column, s.c2, _plain(method.name)
    root, square = h.sqrt(), s.w * s.w
    c1, c3 = 0.5 * (square - h) / root, s.w * (square - 3.0 * h) / (6.0 * h)
    ks: list[Tensor | None] = [start[0]]
    gs: list[Tensor | None] = [start[1]]
    states = [y]
    for i in range(1, tab.stages):
        same = drift[i]
        if same is not None:
            states.append(y if same < i else _add(_add(y, h, row["a0"][i], ks), c2, row["b0"][i], gs))
        else:
            states.append(y)
        state1 = _add(_add(y, h, row["a1"][i], ks), root, row["b1"][i], gs)
        ks.append(None if same is None else ks[same] if same < i else f(s.at(row["c0"][i]), states[i]))
        gs.append(g(s.at(row["c1"][i]), state1))
    e2 = _add(_add(None, c2, row["beta3"], gs), c3, row["beta4"], gs)
    y1 = _add(_add(y, h, row["alpha"], ks), s.w, row["beta1"], gs)
    y1 = _add(y1, c1, row["beta2"], gs) + e2
    error = _add(e2, h, tuple(float(method.delta * s) for s in method.slopes), ks)
    pair = None
    if method.stiffness is not None:
        i, j, _ = method.stiffness
        first, last = ks[i], ks[j]
        assert first is not None and last is not None  # the pair is of stages that are read
        pair = last - first, states[j] - states[i]
    return Trial(y1, error, y1, start, pair)


def _add(y: Tensor | None, factor: Tensor, row: tuple[float, ...], values: list[Tensor | None]) -> Tensor:
    """y + factor * (sum of coefficient * tensor): two operations, and one for each further term.  y None: 0."""
    inner: Tensor | None = None
    for c, x in zip(row, values, strict=False):
        if c != 0.0 and x is not None:
            inner = c * x if inner is None else torch.add(inner, x, alpha=c)
    if inner is None:
        assert y is not None  # no method has a sum of zeros there
        return y
    return factor * inner if y is None else torch.addcmul(y, factor.expand_as(inner), inner)
