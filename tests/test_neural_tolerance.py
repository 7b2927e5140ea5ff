"""Tolerances as in torchdiffeq, the floor of rtol, a bold start, and `calibrate`, against torchdiffeq itself."""

from __future__ import annotations

import math
import pickle
import warnings

import numpy as np
import pytest
import torch
import torchdiffeq
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.integrators.neural import resolution
from stepsmith.integrators.neural.start import BOLD
from stepsmith.neural import calibrate, odeint
from stepsmith.neural import torchdiffeq as face
from stepsmith.neural.tolerance import SCALES

F64 = torch.float64


class Field(torch.nn.Module):
    """A smooth field of random layers; counts its calls."""

    def __init__(self, seed: int, width: int = 4, timed: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = torch.nn.Sequential(torch.nn.Linear(width, 32), torch.nn.Tanh(), torch.nn.Linear(32, width))
        self.net.requires_grad_(False)[0].weight.mul_(3.0)
        self.timed, self.calls = timed, 0

    def forward(self, t, y):
        self.calls += 1
        return self.net(y) * (1.0 + t if self.timed else 1.0)


def start(dtype=F64, batch=8, width=4):
    return torch.randn(batch, width, dtype=dtype, generator=torch.Generator().manual_seed(5))


def truth(field, y0, t):
    """The solution by SciPy, in float64."""
    double = field.double()
    sol = solve_ivp(
        lambda s, y: double(torch.tensor(s, dtype=F64), torch.from_numpy(y).view(y0.shape)).numpy().ravel(),
        (float(t[0]), float(t[-1])), y0.double().numpy().ravel(), "DOP853", t.double().numpy(), rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    return torch.from_numpy(sol.y.T.reshape(len(t), *y0.shape).copy())


def error(y, exact):
    off = (y.double() - exact)[1:].flatten(1).square().mean(1).sqrt()
    return float((off / exact[1:].flatten(1).square().mean(1).sqrt()).max())


def spent(field, library, *args, **given):
    field.calls = 0
    y = library.odeint(field, *args, **given)
    return field.calls, y


T = torch.linspace(0.0, 2.0, 4, dtype=F64)


@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_face_costs_less_than_torchdiffeq_and_is_no_less_accurate(method, seed):
    field, y0 = Field(seed, timed=seed == 1).double(), start()
    exact, ratios = truth(field, y0, T), []
    for rtol in (1e-3, 1e-5, 1e-7):
        theirs, y_ = spent(field, torchdiffeq, y0, T, rtol=rtol, atol=rtol, method=method)
        ours, y = spent(field, face, y0, T, rtol=rtol, atol=rtol, method=method)
        assert ours <= theirs
        ratios.append((math.log(ours / theirs), math.log(error(y, exact) / error(y_, exact))))
    work, err = np.mean(ratios, 0)
    assert work < math.log(0.95) and err < math.log(1.1)


def test_with_its_law_named_the_face_takes_torchdiffeqs_steps():
    field, y0 = Field(0).double(), start()
    counts = [
        spent(field, library, y0, T, rtol=1e-5, atol=1e-7, method="bosh3", **given)[0]
        for library, given in ((torchdiffeq, {}), (face, {"options": {"controller": "torchdiffeq"}}))
    ]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("law", sorted(SCALES))
@pytest.mark.parametrize("eased", [False, True])
def test_tolerance_as_in_torchdiffeq_multiplies_by_what_was_measured(law, eased):
    field, y0 = Field(0).double(), start()
    ways = {"even_steps": True, "first_step": "bold"} if eased else {}
    for method, factors in SCALES[law].items():
        given = {"method": method, "controller": law, "per_sample": False, "heuristics": False, **ways}
        named = odeint(field, y0, T, rtol=1e-6, atol=1e-6, tolerance="torchdiffeq", **given)
        factor = factors[eased]
        by_hand = odeint(field, y0, T, rtol=factor * 1e-6, atol=factor * 1e-6, **given)
        assert torch.equal(named.y, by_hand.y) and named.tolerance_scale == factor >= 1.0
        module = ss.neural.NeuralODE(field, rtol=1e-6, atol=1e-6, tolerance="torchdiffeq", **given)
        assert torch.equal(module(y0, T).y, named.y)


@pytest.mark.parametrize("law", ["torchdiffeq", "pi34"])
@pytest.mark.parametrize(
    "ways", [{"even_steps": True}, {"first_step": "bold"}, {"warm_start": True, "even_steps": True}, {"steps": "auto"}]
)
def test_a_way_to_step_that_was_not_measured_gets_the_smaller_factor(law, ways):
    method = "dopri8" if law == "torchdiffeq" else "dopri5"
    given = {"method": method, "controller": law, "tolerance": "torchdiffeq", "rtol": 1e-6, "atol": 1e-6, **ways}
    module = ss.neural.NeuralODE(Field(0).double(), **given)
    assert module.controller.tolerance_scale == min(SCALES[law][method])
    if not {"warm_start", "steps"} & set(ways):
        assert odeint(Field(0).double(), start(), T, **given).tolerance_scale == min(SCALES[law][method])


def test_the_face_is_no_looser_where_it_cannot_ease_the_steps():
    """With tsit5 the factor is 2.28 where steps are even and the start is bold, and 1.8 elsewhere."""
    field, law = Field(0).double(), ss.controller("torchdiffeq").replace(tolerance_scale=1.8)

    def solved(event_fn=None, **options):
        given = {"rtol": 1e-6, "atol": 1e-6, "method": "tsit5", "options": options, "event_fn": event_fn}
        return face.odeint(field, start(), T[[0, -1]], **given)

    def bold(**given):
        given = {"per_sample": False, "first_step": "bold", **given}
        return odeint(field, start(), T[[0, -1]], "tsit5", law, 1e-6, 1e-6, **given)

    assert torch.equal(solved(first_step=0.01), solved(first_step=0.01, controller=law, even_steps=True))
    assert torch.equal(solved(even_steps=False), bold().y)
    ends = lambda t, y: t - 0.9  # noqa: E731
    assert torch.equal(solved(ends)[1][1], bold(event_fn=ends).event_y)
    law = law.replace(tolerance_scale=2.28)
    assert torch.equal(solved(), bold(even_steps=True).y) and torch.equal(solved(), solved(even_steps=True))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"tolerance": "diffrax"}, "unknown tolerance 'diffrax'"),
        ({"controller": "h211b"}, "'h211b' with 'tsit5'.*calibrate"),
        ({"controller": "universal"}, "calibrate"),
        ({"method": "dop853"}, "'dop853'.*calibrate"),
        ({"controller": ss.controller("torchdiffeq").replace(safety=0.8)}, "calibrate"),
        ({"controller": ss.controller("torchdiffeq").replace(tolerance_scale=2.0)}, "calibrate"),
    ],
)
def test_a_tolerance_that_is_not_known_is_refused(given, match):
    given = {"controller": "torchdiffeq", "tolerance": "torchdiffeq", **given}
    for call in (lambda: odeint(Field(0).double(), start(), T, **given),
                 lambda: ss.neural.NeuralODE(Field(0), **given)):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(ValueError, match="tolerance means nothing to 'rk4'"):
        ss.neural.NeuralODE(Field(0), "rk4", tolerance="torchdiffeq")


# -- the floor of rtol -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve"])
def test_below_the_resolution_of_the_dtype_tolerances_are_its_resolution(adjoint):
    field, y0 = Field(3).float(), start(torch.float32)
    floor = resolution.floor(torch.float32, 5)
    assert floor == pytest.approx(2 * 2**-23) and resolution.floor(torch.float32, 3) == 2**-24
    found = []
    for rtol in (1e-9, floor):
        field.calls = 0
        given = {"adjoint": adjoint, "per_sample": False, **({} if adjoint == "discrete" else {"adjoint_params": ()})}
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            sol = odeint(field, y0.requires_grad_(), T.float(), "dopri5", "torchdiffeq", rtol, 1e-12, **given)
        (g,) = torch.autograd.grad(sol.y.sum(), y0)
        found.append((sol.y.detach(), g, field.calls))
        said = [str(w.message) for w in seen if "resolves" in str(w.message)]
        assert bool(said) == (rtol < floor)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]


def test_a_tolerance_of_a_component_or_of_the_backward_solve_is_not_raised_in_silence():
    field, y0, least = Field(3).float(), start(torch.float32), resolution.floor(torch.float32, 5)
    given = {"per_sample": False, "atol": 1e-9}
    low = torch.tensor([1e-3, 1e-8, 1e-3, 1e-3])
    with pytest.warns(UserWarning, match="^rtol = 1e-08 is below") as seen:
        sol = odeint(field, y0, T.float(), rtol=low, **given)
    assert torch.equal(sol.y, odeint(field, y0, T.float(), rtol=low.clamp(min=least), **given).y)
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="^adjoint_rtol = 1e-08 is below"):
        odeint(field, y0, T.float(), rtol=1e-3, adjoint="backsolve", adjoint_rtol=1e-8, **given)
    with pytest.warns(UserWarning, match="^rtol = 1e-08 is below") as seen:
        ss.neural.NeuralODE(field, rtol=1e-8)(y0, T.float())
    assert seen[0].filename == __file__


def test_without_relative_tolerance_the_floor_is_added():
    y0 = torch.full((1, 1), 1e3)
    with pytest.warns(UserWarning, match="rtol = 0 is below"):
        sol = odeint(lambda t, y: -y, y0, [0.0, 1.0], "dopri5", "torchdiffeq", rtol=0.0, atol=1e-6)
    assert sol.success and float(sol.y[-1]) == pytest.approx(1e3 / math.e, rel=5e-6)


def test_the_floor_saves_work_in_float32_and_costs_no_accuracy():
    """At torchdiffeq's default tolerances, against torchdiffeq itself."""
    work, err = [], []
    for seed in range(4):
        field, y0 = Field(seed).float(), start(torch.float32)
        theirs, y_ = spent(field, torchdiffeq, y0, T.float())
        ours, y = spent(field, face, y0, T.float())
        exact = truth(field, y0, T)
        field.float()
        work.append(math.log(ours / theirs))
        err.append(math.log(error(y, exact) / error(y_, exact)))
    assert np.mean(work) < math.log(0.9) and np.mean(err) < math.log(1.1)


# -- a bold start ------------------------------------------------------------------------------------------------------


def test_a_bold_start_is_so_many_times_the_automatic_one_cut_to_the_span():
    y0 = torch.tensor([[1.0], [3.0]], dtype=F64)

    def sizes(first, end=9.0):
        sol = odeint(lambda t, y: -y * (1 + 0.1 * t), y0, [0.0, end], "dopri5", "torchdiffeq", first_step=first)
        return sol.heuristics.h[0]

    torch.testing.assert_close(sizes("bold"), BOLD * sizes(None), rtol=1e-12, atol=0.0)
    assert (sizes("bold", end=1e-3) == 1e-3).all()
    cold = ss.neural.NeuralODE(lambda t, y: -y, first_step="bold", warm_start=True)
    assert cold.options["first_step"] == "bold" and cold(y0, [0.0, 1.0]).solution.success
    with pytest.raises(ValueError, match='first_step must be a positive number, "bold" or None'):
        odeint(lambda t, y: -y, y0, [0.0, 1.0], first_step="large")


# -- calibrate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("like_method", ["dopri5", "bosh3", "dopri8", "adaptive_heun", "fehlberg2"])
def test_the_other_library_sets_what_is_allowed(like_method):
    field, y0, rtol = Field(1).double(), start(), 1e-4
    calls, y_ = spent(field, torchdiffeq, y0, T, rtol=rtol, atol=rtol, method=like_method)
    found = calibrate(field, y0, T, rtol=rtol, atol=rtol, like_method=like_method)
    assert found.like_nfev == calls
    assert found.like_error == pytest.approx(error(y_, truth(field, y0, T)), rel=1e-4)
    assert found.error <= found.like_error and found.nfev <= found.like_nfev


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_what_calibrate_finds_keeps_the_error_and_saves_work(dtype):
    field, y0 = Field(2).to(dtype), start(dtype)
    rtol, atol = (1e-7, 1e-9) if dtype == torch.float32 else (1e-6, 1e-6)
    calls, y_ = spent(field, torchdiffeq, y0, T.to(dtype), rtol=rtol, atol=atol)
    found = calibrate(field, y0, T, rtol=rtol, atol=atol)
    assert next(field.parameters()).dtype == dtype
    assert found.nfev < 0.9 * calls and found.nfev_warm <= found.nfev
    field.calls = 0
    sol = odeint(field, y0, T, **found.odeint)
    assert (sol.stats.nfev, field.calls) == (found.nfev, found.nfev)
    exact = truth(field, y0, T)
    field.to(dtype)
    assert error(sol.y, exact) <= max(1.001 * error(y_, exact), 4 * torch.finfo(dtype).eps)
    module = ss.neural.NeuralODE(field, **found.module)
    again = calibrate(module, y0, T, rtol=rtol, atol=atol)
    assert str(pickle.loads(pickle.dumps(again))) == str(again) == str(found)
    assert f"{found.nfev} evaluations" in str(found) and "torchdiffeq at rtol" in str(found)


def test_what_cannot_be_calibrated_is_refused():
    y0 = start()
    with pytest.raises(ValueError, match="unknown like 'diffrax'"):
        calibrate(Field(0).double(), y0, T, like="diffrax")
    with pytest.raises(ValueError, match="unknown like_method 'rk4'"):
        calibrate(Field(0).double(), y0, T, like_method="rk4")
    with pytest.raises(ValueError, match="float64 for its reference"):
        net = Field(0).net.float()
        calibrate(lambda t, y: net(y), start(torch.float32), T)
    with pytest.raises(ValueError, match="no reference"):
        calibrate(lambda t, y: y**3, 5.0 + y0.abs(), T)
    with pytest.raises(ValueError, match="y0 must be a tensor"):
        calibrate(Field(0).double(), y0.tolist(), T)
    with pytest.raises(ValueError, match="nothing that was tried"):
        calibrate(Field(0).double(), y0, T, controllers=())
    with pytest.raises(ValueError, match="rtol must be"):
        calibrate(Field(0).double(), y0, T, rtol=-1.0)
    with pytest.raises(ValueError, match="methods must be a list"):
        calibrate(Field(0).double(), y0, T, methods="dopri5")
    with pytest.raises(ValueError, match="controllers must be a list"):
        calibrate(Field(0).double(), y0, T, controllers=None)
    with pytest.raises(ValueError, match="func must be callable"):
        calibrate(3, y0, T)
    with pytest.raises(ValueError, match="draws random numbers in every call.*func.eval"):
        calibrate(lambda t, y: -y * torch.rand_like(y), y0, T)


def test_calibrate_leaves_statistics_and_generators_as_they_were():
    norm = torch.nn.BatchNorm1d(4, dtype=F64)
    noise = []

    def drawn_once(t, y):
        noise[:] = noise or [torch.rand(4, dtype=F64)]
        return -norm(y) * noise[0]

    before, generator = [b.clone() for b in norm.buffers()], torch.get_rng_state()
    calibrate(drawn_once, start(), T, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True)) and norm.training
    assert torch.equal(generator, torch.get_rng_state())
