"""The error estimate "difference" of methods of strong order 1.5: the difference to a solution of strong order 1."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.methods import sde
from stepsmith.integrators.neural.sde.attempt import Step, attempt

NAMES = ("sosri", "sriw1", "sra1")
TIME, SAMPLES = 0.4, 4000


def f(t, y):
    return torch.cos(y) - y**2 + t.reshape(-1, 1)


def g(t, y):
    return 0.5 + 0.3 * torch.sin(y + t.reshape(-1, 1))


def ramp(t, y):
    return 0.5 + t.reshape(-1, 1).square() + torch.zeros_like(y)


def curved(t, y, p, dy):
    dy[0] = math.cos(y[0]) - y[0] ** 2 + t


def silent(t, y, p, g):
    g[0] = 0.0


def trial(method, size, noise=1.0):
    """Attempts of one size along samples of the same normal numbers; noise: a factor of the diffusion."""
    z = torch.randn(2, SAMPLES, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    w, levy = z[0] * size**0.5, z[1] * (size / 12) ** 0.5
    one = torch.ones(SAMPLES, dtype=torch.float64)
    field = ramp if method.noises == ("additive",) else g
    step = Step(TIME * one, size * one, w, levy)
    return attempt(method, f, lambda t, y: noise * field(t, y), step, 0.3 * one[:, None]), step


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("estimate", "noise", "order"), [("difference", 1.0, 1.5), ("difference", 0.0, 2.0), ("published", 1.0, 1.0)]
)
def test_the_order_of_the_estimate(name, estimate, noise, order):
    sizes = [2.0**-k for k in range(8, 13)]
    rms = [float(trial(sde.get(name, estimate), h, noise=noise)[0].error.square().mean().sqrt()) for h in sizes]
    assert abs(np.polyfit(np.log(sizes), np.log(rms), 1)[0] - order) < 0.08


@pytest.mark.parametrize("name", ["sosri", "sriw1"])
def test_it_is_the_difference_to_a_step_that_has_strong_order_one(name):
    """y1 - e is y + h f + (terms of the noise alone), which Milstein's step is: to order h^(3/2) in the mean square."""
    method = sde.get(name, "difference")
    off = []
    for size in (2.0**-8, 2.0**-10):
        found, s = trial(method, size)
        y, (f0, g0) = torch.full_like(found.y1, 0.3), found.start
        slope = 0.3 * torch.cos(y + TIME)
        milstein = y + size * f0 + s.w * g0 + 0.5 * g0 * slope * (s.w**2 - size)
        off.append(float((found.y1 - found.error - milstein).square().mean().sqrt()))
    assert abs(np.log2(off[0] / off[1]) / 2 - 1.5) < 0.1


def test_that_of_sra1_is_the_difference_to_euler_maruyama():
    found, s = trial(sde.get("sra1", "difference"), 0.1)
    y = torch.full_like(found.y1, 0.3)
    torch.testing.assert_close(found.y1 - found.error, y + 0.1 * found.start[0] + s.w * ramp(s.at(1.0), y))


@pytest.mark.parametrize("name", NAMES)
def test_it_vanishes_where_the_solution_is_exact(name):
    """Constant drift and diffusion: the published estimate is the step's size there."""
    z = torch.ones(1, 1, dtype=torch.float64)
    step = Step(z[0], 0.1 * z[0], 0.2 * z, 0.05 * z)
    for estimate, size in (("difference", 0.0), ("published", 0.1 * 2.0)):
        method = sde.get(name, estimate)
        found = attempt(method, lambda t, y: torch.full_like(y, 2.0), lambda t, y: torch.full_like(y, 0.7), step, z)
        expected = size * float(method.delta) * (method.nf if estimate == "published" else 0)
        torch.testing.assert_close(found.error, torch.full_like(z, expected), rtol=1e-12, atol=1e-14)


def test_weights_of_sra1_are_those_that_diffrax_has():
    """diffrax 0.7, _solver/sra1.py: b_error = (-2/3, 2/3)."""
    assert sde.get("sra1", "difference").slopes == (Fraction(-2, 3), Fraction(2, 3))


@pytest.mark.parametrize("name", sde.NAMES)
def test_methods_have_both_or_one_for_both_words(name):
    published, difference = sde.get(name), sde.get(name, "difference")
    assert published.order("additive") == difference.order("additive")
    if name not in NAMES:
        assert difference is published
        return
    assert published.estimate == "sri" and difference.estimate == "embedded"
    assert abs(sum(Fraction(s) for s in difference.slopes)) < 1e-15
    read = (0, 1) if published.sri is None else published.sri.drift_stages()
    assert all(read[i] is not None for row in (published, difference) for i, s in enumerate(row.slopes) if s)


def test_compiled_and_torch_solves_take_the_same_steps():
    """Without noise there is nothing random: the same counts and ends, and fewer steps than by the published one."""
    problem = ss.SDEProblem(curved, silent, [0.3], (0.0, 3.0), noise="additive")
    given = {"method": "sra1", "controller": "i", "rtol": 1e-3, "atol": 1e-3, "first_step": 0.05}
    steps = []
    for estimate in sde.ESTIMATES:
        ours = ss.solve_sde(problem, 1, estimate=estimate, **given)
        start = torch.full((1, 1), 0.3, dtype=torch.float64)
        theirs = ss.neural.sdeint(
            f, lambda t, y: torch.zeros_like(y), start, [0.0, 3.0], noise="additive", estimate=estimate,
            per_sample=True, **given,
        )  # fmt: skip
        steps.append(int(ours.stats.naccept[0]))
        assert steps[-1] == int(theirs.stats.naccept) and int(ours.stats.nreject[0]) == int(theirs.stats.nreject)
        np.testing.assert_allclose(ours.y[0, -1, 0], float(theirs.y[-1, 0, 0]), rtol=1e-12)
    assert steps[1] < steps[0] / 2


def test_the_module_takes_it_and_bad_words_are_refused():
    given = {"method": "sriw1", "rtol": 1e-2, "atol": 1e-2, "regulariser": "local_unbiased", "strength": 1.0}
    y0, penalties = torch.full((8, 1), 0.3, requires_grad=True), []
    for estimate in sde.ESTIMATES:
        model = ss.neural.NeuralSDE(f, g, **given, estimate=estimate, per_sample=True)
        out = model(y0, [0.0, 1.0], seed=1, generator=torch.Generator().manual_seed(2))
        penalties.append(float(out.penalty.detach()))
    # along the same step's increment: another estimate, another E
    assert 0.0 < penalties[1] != penalties[0] > 0.0
    with pytest.raises(ValueError, match="did you mean 'difference'"):
        ss.neural.NeuralSDE(f, g, estimate="diference")
    gbm = ss.sdes.make("gbm")
    with pytest.raises(OptionError, match="did you mean 'difference'"):
        ss.solve_sde(gbm, 2, estimate="differnce")
    with pytest.raises(OptionError, match="estimate must be one of"):
        ss.solve_sde(gbm, 2, estimate=1)
    with pytest.raises(OptionError, match="estimate would have no effect with step_size"):
        ss.solve_sde(gbm, 2, step_size=0.1, estimate="difference")


def test_rejections_by_the_difference_lose_half_an_order_and_a_cautious_law_keeps_it():
    """With a safety of 0.9 a tenth or more of the attempts are rejected, with 0.5 next to none."""
    gbm, slopes = ss.sdes.make("gbm"), {}
    for safety in (0.9, 0.5):
        law, errors, work = ss.controller("pi34").replace(safety=safety), [], []
        for tol in (1e-3, 3e-4, 1e-4, 3e-5):
            sol = ss.solve_sde(gbm, 400, "sriw1", law, tol, tol, 7, estimate="difference", threads=1)
            exact = gbm.exact(sol.t, sol.W, sol.H, gbm.y0, gbm.p)
            errors.append(np.abs(sol.y - exact).mean())
            work.append(sol.stats.naccept.mean())
        slopes[safety] = -np.polyfit(np.log(work), np.log(errors), 1)[0]
    assert slopes[0.9] < 1.25 < 1.35 < slopes[0.5]
