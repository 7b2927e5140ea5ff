"""`sdeint`: strong orders against known solutions, torchsde, every law, statuses, options and bad input."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

import stepsmith as ss
from sde_fields import ADDITIVE, GBM, TANH, A, strong_errors
from stepsmith.controllers.laws import registry
from stepsmith.integrators.methods import sde

ITO = ("sosri", "sriw1", "milstein_ito", "euler_maruyama")
STRATONOVICH = ("stochastic_heun", "euler_heun", "milstein_stratonovich")
COUNTS = (8, 16, 32, 64)


def starts(value=1.0, n=1500, dtype=torch.float64):
    return torch.full((n, 1), value, dtype=dtype)


def order(errors) -> float:
    """Slope of log error against log step."""
    return float(-np.polyfit(np.log(COUNTS), np.log(errors), 1)[0])


@pytest.mark.parametrize("name", [*ITO, *STRATONOVICH])
def test_strong_order_on_geometric_brownian_motion(name):
    method = sde.get(name)
    errors = strong_errors(ss.neural.sdeint, GBM[method.interpretation], name, COUNTS, starts())
    assert abs(order(errors) - float(method.strong)) < 0.12
    assert errors[-1] < 0.05


@pytest.mark.parametrize("name", [*ITO, *STRATONOVICH])
def test_strong_order_where_the_diffusion_is_curved(name):
    method = sde.get(name)
    errors = strong_errors(ss.neural.sdeint, TANH[method.interpretation], name, COUNTS, starts(0.3))
    # without curvature in the limit Euler-Maruyama would do better than its order here
    assert order(errors) > float(method.strong) - 0.12


def test_a_one_sided_milstein_step_would_lose_its_order(monkeypatch):
    """The step that other codes take for Stratonovich equations: the difference quotient's error, of order sqrt(h),
    meets W^2, whose mean is h."""
    from stepsmith.integrators.neural.sde import attempt

    def one_sided(f, g, s, y, start, estimate):
        (f0, g0), root = start, s.column.sqrt()
        y1 = y + s.column * f0 + s.w * g0 + 0.5 * s.w * s.w * (g(s.t, y + root * g0) - g0) / root
        return attempt.Trial(y1, None, y1, start)

    counts = (16, 64, 256)
    ours = strong_errors(ss.neural.sdeint, TANH["stratonovich"], "milstein_stratonovich", counts, starts(0.3, 400))
    monkeypatch.setitem(attempt._RULES, "milstein_stratonovich", one_sided)
    theirs = strong_errors(ss.neural.sdeint, TANH["stratonovich"], "milstein_stratonovich", counts, starts(0.3, 400))
    assert math.log2(ours[0] / ours[-1]) / 4 > 0.9 and math.log2(theirs[0] / theirs[-1]) / 4 < 0.75
    assert theirs[-1] > 5 * ours[-1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sra1", 1.5), ("sosri", 1.5), ("gotta_go_fast", 1.0), ("euler_maruyama", 1.0), ("stochastic_heun", 1.0)],
)
def test_strong_order_with_additive_noise(name, expected):
    errors = strong_errors(ss.neural.sdeint, ADDITIVE, name, COUNTS, starts(), noise="additive")
    # this equation's drift is linear and its noise the same for all: some methods do better than they promise
    assert order(errors) > expected - 0.12


def test_scalar_noise_drives_all_components():
    """Two components of GBM under one Brownian motion stay a power of each other."""
    drift, diffusion, solution = GBM["ito"]
    y0 = torch.tensor([[1.0, 2.0]], dtype=torch.float64).repeat(50, 1)
    for name in ("sosri", "milstein_ito"):
        sol = ss.neural.sdeint(
            drift, diffusion, y0, [0.0, 1.0], method=name, noise="scalar", rtol=1e-2, atol=1e-2, adjoint="none"
        )
        assert sol.W.shape == (2, 50, 1)
        torch.testing.assert_close(sol.y[-1, :, 1], 2.0 * sol.y[-1, :, 0], rtol=1e-9, atol=0)
        assert float((sol.y[-1] - solution(1.0, sol.W[-1], y0)).abs().mean()) < 0.05


@pytest.mark.parametrize("name", sde.NAMES)
@pytest.mark.parametrize("per_sample", [True, False])
def test_adaptive_steps_follow_the_solution(name, per_sample):
    """With the tolerance the error falls, and is of the tolerance's size."""
    method = sde.get(name)
    noise = "additive" if method.adaptive == ("additive",) else "diagonal"
    drift, diffusion, solution = ADDITIVE if noise == "additive" else TANH[method.interpretation]
    y0, errors, steps = starts(0.3, 64), [], []
    for tol in (1e-1, 1e-2) if per_sample or method.estimate == "sri" else (1e-1, 1e-2, 1e-3):
        sol = ss.neural.sdeint(
            drift, diffusion, y0, [0.0, 0.5, 1.0], method=name, rtol=tol, atol=tol, noise=noise,
            per_sample=per_sample, adjoint="none", brownian="tree", max_steps=20_000,
        )  # fmt: skip
        assert sol.success and sol.message == "reached the end of the span"
        errors.append(float((sol.y[-1] - solution(1.0, sol.W[-1], y0)).abs().mean()))
        steps.append(sol.stats.naccept)
        # Lamba's estimate does not see what the noise does in the drift, an error of order h^(3/2) a step
        assert errors[-1] < (6.0 if name == "euler_maruyama" else 2.0) * tol
        assert sol.stats.ngev_per_sample.min() >= method.ng * sol.stats.naccept_per_sample.min()
    assert steps == sorted(steps) and errors[-1] < errors[0]


@pytest.mark.parametrize("law", [n for n in registry.names() if n not in ("aarseth", "amuse", "ias15")])
def test_every_law_chooses_steps(law):
    drift, diffusion, solution = TANH["ito"]
    y0 = starts(0.3, 8)
    law = registry.get("constant", h=0.05) if law == "constant" else law
    sol = ss.neural.sdeint(drift, diffusion, y0, [0.0, 1.0], controller=law, rtol=0.05, atol=0.05, adjoint="none")
    assert sol.success
    assert float((sol.y[-1] - solution(1.0, sol.W[-1], y0)).abs().mean()) < 0.06


def test_learned_controllers_run():
    drift, diffusion, _ = TANH["ito"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it was trained with another method
        sol = ss.neural.sdeint(
            drift, diffusion, starts(0.3, 4), [0.0, 1.0], controller="three-body", rtol=0.05, atol=0.05, adjoint="none"
        )
    assert sol.success


def test_the_same_paths_through_torchsde():
    """torchsde's srk, fixed small steps along its BrownianInterval, against ours along the same one."""
    torchsde = pytest.importorskip("torchsde")

    class Field(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, y):
            return torch.sin(y) - y

        def g(self, t, y):
            return 0.3 * torch.cos(y)

    field, y0 = Field(), torch.linspace(-1.0, 1.0, 20, dtype=torch.float64)[:, None]
    interval = torchsde.BrownianInterval(
        t0=0.0, t1=1.0, size=(20, 1), dtype=torch.float64, entropy=3, levy_area_approximation="space-time"
    )
    theirs = torchsde.sdeint(field, y0, torch.tensor([0.0, 1.0]), bm=interval, method="srk", dt=2.0**-7)[-1]
    for name, tol in (("sosri", 1e-4), ("sriw1", 1e-4), ("milstein_ito", 4e-3)):
        ours = ss.neural.sdeint(
            field.f, field.g, y0, [0.0, 1.0], method=name, step_size=2.0**-6, brownian=interval, adjoint="none"
        )
        assert float((ours.y[-1] - theirs).abs().mean()) < tol


def test_noise_alone_that_moves_with_time_is_seen():
    """Without drift and with g = g(t) every estimate must see the change: W_1 weighted by g has a known variance."""
    y0 = torch.zeros(4000, 1, dtype=torch.float64)

    def still(t, y):
        return torch.zeros_like(y)

    def ramp(t, y):
        return 3.0 * t + torch.zeros_like(y)

    for name in sde.NAMES:
        noise = "additive" if "diagonal" not in sde.get(name).adaptive else "diagonal"
        sol = ss.neural.sdeint(
            still, ramp, y0, [0.0, 1.0], method=name, noise=noise, rtol=1e-2, atol=1e-2, adjoint="none",
            heuristics=False, max_steps=100_000,
        )  # fmt: skip
        # int_0^1 (3 t)^2 dt = 3
        assert abs(float(sol.y[-1].var()) / 3.0 - 1.0) < 0.12, name


def test_outputs_are_at_their_times_and_in_the_form_of_y0():
    drift, diffusion, solution = TANH["ito"]
    t = torch.tensor([0.0, 0.21, 0.8, 1.0])
    y0 = 0.1 * torch.ones(3, 2, 2, dtype=torch.float64)
    sol = ss.neural.sdeint(drift, diffusion, y0, t, rtol=1e-2, atol=1e-2)
    assert sol.y.shape == (4, 3, 2, 2) and sol.W.shape == (4, 3, 4) and sol.t is t
    exact = solution(t.double(), sol.W.reshape(4, 3, 2, 2).permute(1, 2, 3, 0), 0.1 * torch.ones(1).double())
    assert float((sol.y.permute(1, 2, 3, 0) - exact).abs().max()) < 0.02
    one = ss.neural.sdeint(drift, diffusion, y0[0].reshape(-1), t, rtol=1e-2, atol=1e-2)
    assert one.y.shape == (4, 4) and one.W.shape == (4, 4) and one.heuristics.E.dim() == 1
    single = ss.neural.sdeint(drift, diffusion, y0.float(), t)
    assert single.y.dtype == torch.float32 and single.success


def test_times_reach_the_fields_as_they_are_meant():
    shapes = set()

    def drift(t, y):
        shapes.add((t.dim(), t.dtype))
        return -t * y

    y0 = torch.ones(3, 2, dtype=torch.float32)
    for per_sample in (True, False):
        ss.neural.sdeint(drift, lambda t, y: 0.1 * y, y0, [0.0, 1.0], per_sample=per_sample)
    assert shapes == {(2, torch.float32), (0, torch.float32)}


def test_a_failing_sample_leaves_the_others_alone():
    def drift(t, y):
        return torch.where(y > 5.0, y**3, -y)

    y0 = torch.tensor([[0.5], [50.0], [0.7]], dtype=torch.float64)
    sol = ss.neural.sdeint(drift, lambda t, y: 0.1 * y, y0, [0.0, 1.0], rtol=1e-1, atol=1e-1, max_steps=200)
    assert not sol.success and list(sol.status > 0) == [True, False, True]
    assert "1 of 3 samples failed" in sol.message
    assert torch.isnan(sol.y[-1, 1]).all() and torch.isfinite(sol.y[-1, [0, 2]]).all()
    alone = ss.neural.sdeint(
        drift, lambda t, y: 0.1 * y, y0[[0, 2]], [0.0, 1.0], rtol=1e-1, atol=1e-1, sample_ids=[0, 2]
    )
    torch.testing.assert_close(sol.y[:, [0, 2]], alone.y)
    bad = ss.neural.sdeint(drift, lambda t, y: torch.log(y), -y0, [0.0, 1.0])
    assert set(bad.status) == {-4} and "drift, diffusion" in bad.message


def test_step_limits():
    drift, diffusion, _ = TANH["ito"]
    y0 = starts(0.3, 2)
    held = ss.neural.sdeint(drift, diffusion, y0, [0.0, 1.0], rtol=0.5, atol=0.5, max_step=0.05)
    assert held.stats.naccept_per_sample.min() >= 20
    least = ss.neural.sdeint(drift, diffusion, y0, [0.0, 1.0], rtol=1e-6, atol=1e-6, min_step=0.1)
    assert least.success and least.stats.naccept_per_sample.max() <= 12 and "above the tolerance" in least.message
    few = ss.neural.sdeint(drift, diffusion, y0, [0.0, 1.0], rtol=1e-4, atol=1e-4, max_steps=5)
    assert list(few.status) == [-1, -1]


def test_gotta_go_fast_has_its_own_scale():
    """E of the first step against the formula of arXiv:2105.14080, algorithm 1."""
    drift, diffusion, _ = ADDITIVE
    y0 = torch.tensor([[1.0, -0.2, 0.01]], dtype=torch.float64)
    sol = ss.neural.sdeint(
        drift, diffusion, y0, [0.0, 1.0], method="gotta_go_fast", noise="additive", rtol=0.1, atol=0.02,
        max_step=0.05, first_step=0.05, brownian="tree", controller="i",
    )  # fmt: skip
    h, t0 = float(sol.heuristics.h[0, 0]), torch.zeros(1, dtype=torch.float64)
    w = ss.neural.sdeint(drift, diffusion, y0, [0.0, h, 1.0], noise="additive", step_size=h, brownian="tree").W[1]
    euler = y0 + h * drift(t0, y0) + w * diffusion(t0, y0)
    error = 0.5 * (h * (drift(t0 + h, euler) - drift(t0, y0)) + w * (diffusion(t0 + h, y0) - diffusion(t0, y0)))
    delta = torch.maximum(torch.tensor(0.02), 0.1 * torch.maximum(euler.abs(), y0.abs()))
    torch.testing.assert_close(sol.heuristics.E[0, 0], ((error / delta) ** 2).mean().sqrt(), rtol=1e-7, atol=0)


BAD = [
    ({"t": [1.0, 0.0]}, "let s = -t"),
    ({"t": [0.0, 0.0]}, "holds a time twice"),
    ({"t": torch.tensor([0.0, 1.0], requires_grad=True)}, "must not require a gradient"),
    ({"y0": torch.ones(3, 2, dtype=torch.int64)}, "float32 or float64"),
    ({"y0": [1.0]}, "must be a tensor"),
    ({"method": "sosr"}, "did you mean 'sosri'"),
    ({"method": "euler_maruyama"}, "take fixed ones"),
    ({"method": "euler_heun", "interpretation": "ito"}, "solves Stratonovich equations"),
    ({"noise": "general"}, "known: additive, diagonal, scalar"),
    ({"rtol": -1.0}, "rtol must be"),
    ({"rtol": 0.0, "atol": 0.0}, "both zero"),
    ({"seed": -1}, "seed must be"),
    ({"seed": 1.5}, "seed must be"),
    ({"brownian": "tre"}, "did you mean 'tree'"),
    ({"brownian": 3}, "brownian must be"),
    ({"sample_ids": [1, 2]}, "3 whole numbers"),
    ({"step_size": 0.0}, "step_size must be"),
    ({"min_step": 0.2, "max_step": 0.1}, "must not exceed"),
    ({"heuristics": "S", "method": "sriw1"}, "no stiffness estimate"),
    ({"adjoint": "backsolve"}, "adjoint"),
    ({"controller": "pi43"}, "did you mean"),
    ({"max_stps": 3}, "did you mean 'max_steps'"),
    ({"drift": lambda y: y}, "drift is called as drift"),
    ({"diffusion": lambda t, y: y[:, :1]}, "diffusion must return a tensor like y"),
    ({"diffusion": lambda t, y: y.mean(0, keepdim=True) * y}, "per_sample=False"),
    ({"noise": "additive"}, "depends on the state"),
    ({"noise": "additive", "step_size": 0.1}, "depends on the state"),
]


@pytest.mark.parametrize(("changes", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_input_gets_one_clear_error(changes, said):
    given = {
        "drift": lambda t, y: -y, "diffusion": lambda t, y: 0.1 * y, "t": [0.0, 1.0],
        "y0": torch.arange(6, dtype=torch.float64).reshape(3, 2) ** 2 + 1.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match=said):
        ss.neural.sdeint(**{**given, **changes})


def test_a_diffusion_that_mixes_components_is_refused_by_milstein_of_stratonovich():
    y0 = torch.ones(3, 2, dtype=torch.float64)
    for step in (None, 0.1):
        with pytest.raises(ValueError, match="stochastic_heun or euler_heun"):
            ss.neural.sdeint(
                lambda t, y: -y, lambda t, y: y.flip(-1), y0, [0.0, 1.0], method="milstein_stratonovich", step_size=step
            )


def test_methods_agree_where_components_mix():
    """g_i that depends on y_j: Ito's Milstein and SOSRI keep their limit, with order 1/2 (the mean of many paths)."""
    y0 = torch.ones(3000, 2, dtype=torch.float64)

    def mixed(t, y):
        return A * y.flip(-1)

    means = []
    for name in ("euler_maruyama", "milstein_ito", "sosri"):
        sol = ss.neural.sdeint(
            lambda t, y: -0.5 * y, mixed, y0, [0.0, 1.0], method=name, step_size=1 / 64, brownian="tree", adjoint="none"
        )
        means.append(sol.y[-1])
    gap = (means[1] - means[0]).abs().mean(), (means[2] - means[0]).abs().mean()
    assert max(gap) < 0.08
    assert abs(float(means[2].mean()) - math.exp(-0.5)) < 0.05


def test_fields_that_draw_are_warned_of():
    y0 = torch.ones(3, 2, dtype=torch.float64)
    with pytest.warns(UserWarning, match="random numbers in every call"):
        ss.neural.sdeint(
            lambda t, y: -torch.nn.functional.dropout(y, 0.5), lambda t, y: 0.1 * y, y0, [0.0, 0.1], per_sample=False
        )


def test_transforms_of_torch_func_are_refused():
    def loss(rate):
        y0 = torch.ones(2, 1, dtype=torch.float64)
        return ss.neural.sdeint(lambda t, y: rate * y, lambda t, y: 0.1 * y, y0, [0.0, 1.0]).y.sum()

    with pytest.raises(RuntimeError, match="torch.autograd"):
        torch.func.grad(loss)(torch.tensor(1.0, dtype=torch.float64))
