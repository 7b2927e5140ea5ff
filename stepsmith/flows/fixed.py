"""Sampling methods with a fixed number of steps.

    euler      Euler's method in the process's own time
    ddim       the step that is exact for constant denoised data: a_t D + s_t eps, the first-order exponential
               integrator (J. Song et al., ICLR 2021; C. Lu et al., NeurIPS 2022, DPM-Solver-1); it is Euler's method in
               the time of flow matching, whatever the process
    heun       Heun's method; a last step whose end has no velocity is Euler's (T. Karras et al., NeurIPS 2022,
               algorithm 1)
    midpoint   the midpoint rule
    ab2, ab3, ab4
               Adams and Bashforth's methods with the coefficients that belong to the grid, from the velocities at the
               last 2, 3, 4 times, and from fewer in the first steps
    dpmpp_2m   DPM-Solver++(2M) (C. Lu et al., DPM-Solver++, 2022, algorithm 2), first order in the first step and where
               no noise is left at a step's end

Every rule is step(model, x, times, i, past) -> x at times[i + 1].  `times` are numbers, or 0-d float64 tensors where a
gradient in them is wanted.  `past` is the solve's own list, to which a multistep rule appends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .model import Model

Tensor = torch.Tensor
Rule = Callable[[Model, Tensor, Sequence[Any], int, list[Any]], Tensor]


def euler(model: Model, x: Tensor, times: Sequence[Any], i: int, past: list[Any]) -> Tensor:
    """One step of Euler's method."""
    return x + (times[i + 1] - times[i]) * model.velocity(x, times[i])


def ddim(model: Model, x: Tensor, times: Sequence[Any], i: int, past: list[Any]) -> Tensor:
    """The state at the step's end whose denoised data and noise are those at its beginning."""
    denoised, noise = model.predictions(x, times[i])
    end = times[i + 1]
    return model.process.a(end) * denoised + model.process.s(end) * noise


def heun(model: Model, x: Tensor, times: Sequence[Any], i: int, past: list[Any]) -> Tensor:
    """The trapezoidal rule with Euler's prediction."""
    h = times[i + 1] - times[i]
    slope = model.velocity(x, times[i])
    guess = x + h * slope
    if model.singular(float(times[i + 1])):
        return guess
    return x + 0.5 * h * (slope + model.velocity(guess, times[i + 1]))


def midpoint(model: Model, x: Tensor, times: Sequence[Any], i: int, past: list[Any]) -> Tensor:
    """Euler's method to the middle of the step, whose velocity makes the step."""
    h = times[i + 1] - times[i]
    middle = x + 0.5 * h * model.velocity(x, times[i])
    return x + h * model.velocity(middle, times[i] + 0.5 * h)


def adams_bashforth(nodes: Sequence[Any], start: Any, end: Any) -> list[Any]:
    """Weights of the values at `nodes` in the integral from `start` to `end` of the polynomial through them.

    Numbers or 0-d tensors; the nodes differ.  On equal steps these are the classical ones, such as h (3/2, -1/2).
    """
    h = end - start
    places = [(node - start) / h for node in nodes]
    weights = []
    for j, own in enumerate(places):
        terms: list[Any] = [1]  # coefficients of the Lagrange polynomial, the constant first
        for m, other in enumerate(places):
            if m != j:
                shifted, kept = [0, *terms], [*terms, 0]
                terms = [(u - other * v) / (own - other) for u, v in zip(shifted, kept, strict=True)]
        weights.append(h * sum(c / (k + 1) for k, c in enumerate(terms)))
    return weights


def adams(order: int) -> Rule:
    """The rule of Adams and Bashforth of this order."""

    def step(model: Model, x: Tensor, times: Sequence[Any], i: int, past: list[Any]) -> Tensor:
        past.append(model.velocity(x, times[i]))
        del past[:-order]
        nodes = times[i + 1 - len(past) : i + 1]
        for weight, slope in zip(adams_bashforth(nodes, times[i], times[i + 1]), past, strict=True):
            x = x + weight * slope
        return x

    return step


def dpmpp_2m(model: Model, x: Tensor, times: Sequence[Any], i: int, past: list[Any]) -> Tensor:
    """One step of DPM-Solver++(2M)."""
    p, now, end = model.process, times[i], times[i + 1]
    past.append(model.denoised(x, now))
    del past[:-2]
    a, s, a_end, s_end = p.a(now), p.s(now), p.a(end), p.s(end)
    shrink = a * s_end / (s * a_end)  # exp(-h) with h the step in log-SNR
    ahead = past[-1]
    if len(past) == 2 and float(s_end) > 0.0:
        ratio = (p.log_snr(end) - p.log_snr(now)) / (p.log_snr(now) - p.log_snr(times[i - 1]))
        ahead = ahead + 0.5 * ratio * (past[-1] - past[-2])
    return s_end / s * x + a_end * (1.0 - shrink) * ahead


RULES: dict[str, Rule] = {
    "euler": euler, "ddim": ddim, "heun": heun, "midpoint": midpoint,
    "ab2": adams(2), "ab3": adams(3), "ab4": adams(4), "dpmpp_2m": dpmpp_2m,
}  # fmt: skip
#: evaluations a step
EVALUATIONS = dict.fromkeys(RULES, 1) | {"heun": 2, "midpoint": 2}
