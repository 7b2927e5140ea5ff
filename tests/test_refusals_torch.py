"""Bad input that once ended in an error of the insides, or did not end: one clear error that names the argument."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import stepsmith as ss

Y0 = torch.ones(3, 2, dtype=torch.float64)
SEVERAL, NONE, META = np.zeros(3), np.zeros(0), torch.zeros(3, 2, device="meta")
SPARSE = torch.ones(3, 2, dtype=torch.float64).to_sparse()


def decay(t, y):
    return -y


def ode(y0=Y0, **options):
    return ss.neural.odeint(decay, y0, [0.0, 1.0], **options)


def module(y0=Y0, **options):
    return ss.neural.NeuralODE(decay, **options)(y0, [0.0, 1.0])


def sde(y0=Y0, **options):
    return ss.neural.sdeint(decay, decay, y0, [0.0, 1.0], **options)


def sample(x=Y0, **options):
    return ss.flows.sample(ss.flows.mixture([[0.5, -0.5]], [0.7]), x, **options)


def flow(velocity=lambda x, t: -x, x=Y0, **options):
    return ss.flows.CNF(velocity, **options)(x)


def learn(**options):
    sizes = {"n_train": 4, "n_validate": 4, "batch": 4, "iterations": 1}
    return ss.flows.learn(ss.flows.mixture([[0.5, -0.5]], [0.7]), steps=2, **sizes, **options)


CASES = [
    *((call, name, value) for call in (ode, module) for name, values in {
        "even_steps": (SEVERAL, torch.zeros(3), NONE), "heuristics": (SEVERAL, torch.zeros(3)),
        "max_step": (SEVERAL, torch.zeros(3), SPARSE), "step_t": (META,), "jump_t": (META,), "first_step": (META, NONE),
        "adjoint_params": (np.array(0.1),), "rtol": (NONE,), "atol": (META,), "y0": (SPARSE,),
    }.items() for value in values),
    *((module, name, SEVERAL) for name in ("warm_start", "steps", "first_step")),
    (module, "rtol", META), (ode, "method", SEVERAL),
    *((sde, name, SEVERAL) for name in ("noise", "interpretation")),
    *((sde, "sample_ids", value) for value in (META, SPARSE, [[1], [1, 2]])),
    (sde, "y0", SPARSE), (sde, "step_size", 1e-300), (sde, "step_size", 1e-16),
    (sample, "grid", b"x"), (sample, "grid", [None]), (sample, "x", SPARSE), (sample, "x", META),
    (flow, "base", 3), (flow, "base", lambda z: 0), (flow, "velocity", lambda x, t: None), (flow, "x", SPARSE),
    (flow, "x", META), (flow, "x", Y0[:0]), (flow, "t", (Y0, Y0)), (flow, "rtol", NONE),
    (learn, "dtype", SEVERAL), (learn, "device", "nowhere"), (learn, "device", -1), (learn, "fit_last", SEVERAL),
    (learn, "shape", ""), (learn, "shape", ()),
]  # fmt: skip


@pytest.mark.parametrize("call, name, value", CASES, ids=lambda x: getattr(x, "__name__", None) or repr(x)[:20])
def test_the_error_names_the_argument(call, name, value):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        call(**{name: value})
    text = str(caught.value)
    assert len(text) < 600 and "ambiguous" not in text and "has no attribute" not in text


@pytest.mark.parametrize("size", [1e-300, 1e-10])
def test_a_grid_of_too_many_steps_is_refused(size):
    with pytest.raises(ValueError, match="step_size must make at most"):
        ode(method="rk4", step_size=size)


def test_equal_steps_of_an_sde_end_where_max_steps_says():
    """The times of no more steps than are taken are made."""
    sol = sde(step_size=1e-12, max_steps=3)
    assert not sol.success and sol.stats.naccept == 9 and bool(sol.y[1].isnan().all())


def drift(t, y, p, dy):
    dy[0] = -y[0]


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-17])
def test_equal_steps_that_times_do_not_resolve_are_refused(size):
    """With 5e-324 the compiled loop did not end."""
    problem = ss.SDEProblem(drift, drift, [1.0], (1.0, 2.0))
    with pytest.raises(ValueError, match="step_size must be at least"):
        ss.solve_sde(problem, 2, step_size=size)


@pytest.mark.parametrize("size", [2.0, True, np.inf, -1.0])
def test_a_wrong_step_size_is_called_that(size):
    with pytest.raises(ValueError, match="^step_size"):
        ss.solve_sde(ss.SDEProblem(drift, drift, [1.0], (1.0, 2.0)), 2, step_size=size)


@pytest.mark.parametrize("value", [SPARSE, META, torch.zeros(2, requires_grad=True), [[1.0], [1.0, 2.0]]])
@pytest.mark.parametrize("name", ["y0", "t_span", "p"])
def test_what_numpy_cannot_take_is_refused_by_name(name, value):
    good = {"y0": [1.0], "t_span": (0.0, 1.0), "p": ()}
    with pytest.raises(ValueError, match=name):
        ss.Problem(drift, **{**good, name: value})
    with pytest.raises(ValueError, match=name):
        ss.SDEProblem(drift, drift, **{**good, name: value})
