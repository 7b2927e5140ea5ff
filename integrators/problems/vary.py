"""A sampler made from one problem and what varies in it.

    vary={"p[1]": (20.0, 40.0), "y0[0]": ("log", 1e-3, 1.0), "t1": (5.0, 10.0), "p[0]": [1.0, 2.0], "y0[1]":
      scipy.stats.norm(0, 0.1)}

A key names a number of the problem ("p[1]", "y0[0]", "t0", "t1", a parameter's name where it has one), or all numbers
of an array ("p", "y0"), which then vary one by one. A value says how it is drawn:

    (low, high)             uniformly between the two
    ("log", low, high)      uniformly in the logarithm, both positive
    ("relative", part)      uniformly within +- part of the problem's own value
    [a, b, c]               one of these
    a frozen distribution   what its `rvs(size=..., random_state=...)` draws, as SciPy's have it
    a function              `f(rng, count)` -> (count,) numbers
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import OptionError, shown
from .problem import Batch, Problem

_KEY = re.compile(r"(p|y0)(?:\[(-?\d+)\])?|(t0|t1)")
#: draws (count,) numbers; its arguments are the generator, the count and the problem's own value
Draw = Callable[[np.random.Generator, int, float], np.ndarray]


@dataclass(frozen=True)
class Varied:
    """`sampler(rng, count) -> Batch`: instances of a problem, in which some numbers are drawn.

    problem: all that stays.  draws: (array, index, how) of every number that varies; array is "p", "y0", "t0" or "t1".
    """

    problem: Problem
    draws: tuple[tuple[str, int, Draw], ...]

    def __call__(self, rng: np.random.Generator, count: int) -> Batch:
        one = self.problem.batch()
        arrays = {"p": np.repeat(one.p, count, axis=0), "y0": np.repeat(one.y0, count, axis=0)}
        spans = {"t0": np.repeat(one.t0, count), "t1": np.repeat(one.t1, count)}
        for name, index, draw in self.draws:
            own = float(arrays[name][0, index] if name in arrays else spans[name][0]) if count else 0.0
            found = np.asarray(draw(rng, count, own), dtype=np.float64)
            where = f"{name}[{index}]" if name in arrays else name
            if found.shape != (count,) or not np.all(np.isfinite(found)):
                raise OptionError(f"vary[{where!r}] must give {count} finite numbers, got shape {found.shape}")
            if name in arrays:
                arrays[name][:, index] = found
            else:
                spans[name] = found
        return Batch(
            one.rhs, arrays["y0"], arrays["p"], spans["t0"], spans["t1"], name=one.name, nbody=one.nbody, jac=one.jac,
            invariants=one.invariants, accel=one.accel, sparsity=one.sparsity, names=one.names, state=one.state,
            mass=one.mass, spectral_radius=one.spectral_radius,
        )  # fmt: skip


def varied(problem: Problem, vary: Mapping[str, Any]) -> Varied:
    """The sampler that `vary` describes (the module's first lines).

    OptionError, naming the key, for what is no number of the problem, for two keys that name the same one, and for a
    way of drawing that is not understood.
    """
    if not isinstance(vary, Mapping) or not vary:
        raise OptionError(f'vary must say what varies, such as {{"p[0]": (low, high)}}, got {shown(vary)}')
    draws: list[tuple[str, int, Draw]] = []
    for key, value in vary.items():
        name, indices = _places(problem, key)
        draw = _draw(key, value)
        draws += [(name, index, draw) for index in indices]
    places = [(name, index) for name, index, _ in draws]
    twice = sorted({f"{name}[{index}]" for name, index in places if places.count((name, index)) > 1})
    if twice:
        raise OptionError(f"vary names {', '.join(twice)} more than once")
    return Varied(problem, tuple(draws))


def _places(problem: Problem, key: Any) -> tuple[str, range]:
    if problem.names is not None and key in problem.names:
        return "p", range(problem.names.index(key), problem.names.index(key) + 1)
    found = _KEY.fullmatch(key.replace(" ", "")) if isinstance(key, str) else None
    if found is None:
        raise OptionError(
            f'vary: {shown(key)} names no number of a problem; keys are like "p[0]", "y0[1]", "p", "y0", "t0", "t1"'
            + (f", or one of {', '.join(problem.names)}" if problem.names else "")
        )
    if found[3]:
        return found[3], range(1)
    name, size = found[1], problem.m if found[1] == "p" else problem.n
    if found[2] is None:
        if size == 0:
            raise OptionError(f"vary: {key!r}, but the problem has no parameters")
        return name, range(size)
    index = int(found[2])
    if not -size <= index < size:
        raise OptionError(f"vary: {key!r} is outside of {name}, which has {size} numbers")
    return name, range(index % size, index % size + 1)


@dataclass(frozen=True)
class _Uniform:
    low: float
    high: float
    log: bool = False

    def __call__(self, rng: np.random.Generator, count: int, own: float) -> np.ndarray:
        if self.log:
            return np.exp(rng.uniform(np.log(self.low), np.log(self.high), count))
        return rng.uniform(self.low, self.high, count)


@dataclass(frozen=True)
class _Relative:
    part: float

    def __call__(self, rng: np.random.Generator, count: int, own: float) -> np.ndarray:
        return own * (1.0 + rng.uniform(-self.part, self.part, count))


@dataclass(frozen=True)
class _Choice:
    values: tuple[float, ...]

    def __call__(self, rng: np.random.Generator, count: int, own: float) -> np.ndarray:
        return rng.choice(np.array(self.values), count)


@dataclass(frozen=True)
class _Distribution:
    frozen: Any

    def __call__(self, rng: np.random.Generator, count: int, own: float) -> np.ndarray:
        return np.asarray(self.frozen.rvs(size=count, random_state=rng))


@dataclass(frozen=True)
class _Function:
    fn: Callable[[np.random.Generator, int], Any]

    def __call__(self, rng: np.random.Generator, count: int, own: float) -> np.ndarray:
        return np.asarray(self.fn(rng, count))


def _draw(key: str, value: Any) -> Draw:
    if hasattr(value, "rvs"):
        return _Distribution(value)
    if callable(value):
        return _Function(value)
    if isinstance(value, list) and value and all(_number(v) for v in value):
        return _Choice(tuple(float(v) for v in value))
    if isinstance(value, tuple):
        if len(value) == 2 and all(map(_number, value)) and value[0] <= value[1]:
            return _Uniform(float(value[0]), float(value[1]))
        if len(value) == 3 and value[0] == "log" and all(map(_number, value[1:])) and 0.0 < value[1] <= value[2]:
            return _Uniform(float(value[1]), float(value[2]), log=True)
        if len(value) == 2 and value[0] == "relative" and _number(value[1]) and 0.0 < value[1]:
            return _Relative(float(value[1]))
    raise OptionError(
        f'vary[{key!r}] must be (low, high), ("log", low, high), ("relative", part), a list of numbers, a distribution '
        f"with rvs or a function of a generator and a count, got {shown(value)}"
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))
