"""Strengths that are known before training: lambda(k) at iteration k = 0, 1, 2, ...

    constant      lambda(k) = l
    exponential   lambda(k) = l0 (l1 / l0)^(min(k, n) / n)
    linear        lambda(k) = l0 + (l1 - l0) min(k, n) / n
    of            lambda(k) = f(k), any callable

A strength of zero switches the penalty off: allowed everywhere but at the ends of an exponential, which never reaches
zero.

Exponential annealing is that of A. Pal et al., ICML 2021 (PMLR 139:8325-8335), with l0 = 100, l1 = 10 for the mean of
E_j h_j.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ...core import options
from .base import Strength


def _not_negative(what: str, value: Any) -> float:
    return options.number(what, value, 0.0)


class Schedule(Strength):
    """lambda(k) -> float; `describe()` names it and its numbers for logs and provenance."""

    def __init__(self, kind: str, numbers: dict[str, float], formula: Callable[[float], float]) -> None:
        super().__init__()
        self.kind, self.numbers, self.formula = kind, numbers, formula

    def __call__(self, k: float) -> float:
        """The strength at iteration k >= 0 (fractions allowed).  ValueError where k or the result is not a number that
        fits.
        """
        options.number("the iteration", k, 0.0)
        return _not_negative(f"the {self.kind} strength at iteration {k}", self.formula(k))

    @property
    def level(self) -> float:
        return self(self.iteration)

    def describe(self) -> dict[str, Any]:
        """{"kind": ..., and its numbers}: plain data, enough for `make` to build it again, except for a callable."""
        return {"kind": self.kind, **self.numbers}


# functions of the module, which pickle can name


def _level(level: float, k: float) -> float:
    return level


def _power(first: float, ratio: float, length: float, k: float) -> float:
    return first * ratio ** (min(k, length) / length)


def _mean(first: float, last: float, length: float, k: float) -> float:
    # as a mean with weights in [0, 1]: round-off cannot carry it below zero
    share = min(k, length) / length
    return first * (1 - share) + last * share


def constant(value: float) -> Schedule:
    """The same strength, `value` >= 0, at every iteration."""
    level = _not_negative("a constant strength", value)
    return Schedule("constant", {"value": level}, functools.partial(_level, level))


def exponential(l0: float, l1: float, n: float) -> Schedule:
    """From l0 to l1 in n iterations along an exponential, l1 from then on; all positive and finite."""
    first, last, length = options.positive("l0", l0), options.positive("l1", l1), options.positive("n", n)
    return Schedule(
        "exponential", {"l0": first, "l1": last, "n": length}, functools.partial(_power, first, last / first, length)
    )


def linear(l0: float, l1: float, n: float) -> Schedule:
    """From l0 to l1 in n iterations along a line, l1 from then on; all finite, l0 and l1 >= 0, n > 0."""
    first, last, length = _not_negative("l0", l0), _not_negative("l1", l1), options.positive("n", n)
    return Schedule("linear", {"l0": first, "l1": last, "n": length}, functools.partial(_mean, first, last, length))


def of(formula: Callable[[float], float]) -> Strength:
    """Any callable k -> strength; each value is checked to be finite and not negative.  A Strength is returned as it
    is.
    """
    if isinstance(formula, Strength):
        return formula
    if not callable(formula):
        raise ValueError(f"a strength must be callable, got {type(formula).__name__}")
    name = getattr(formula, "__qualname__", type(formula).__name__)
    return Schedule("callable " + name, {}, formula)
