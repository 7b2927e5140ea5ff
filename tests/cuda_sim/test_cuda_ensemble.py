"""The CUDA kernel in Numba's simulator equals the CPU ensemble to rounding: laws, learned controllers, outputs,
failures.

Run with `make test-cudasim`: the simulator is chosen once a process, by NUMBA_ENABLE_CUDASIM=1.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import stepsmith as ss
from pairs import FEHLBERG5, HEUN
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.compile.vecmath import exp as e_to
from stepsmith.integrators.engine import cuda
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.kernels import layout
from stepsmith.integrators.problems.problem import Batch

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, for the infinities of failing lanes


def relaxing_blow_up(t, y, p, dy):
    """y0' = p y0^2 blows up at t = 1/(p y0); y1 relaxes."""
    dy[0] = p[0] * y[0] * y[0]
    dy[1] = e_to(-y[1]) - 0.5 * y[1]


def same(gpu, cpu, rtol):
    """Equal counts and statuses, equal states to rounding."""
    np.testing.assert_array_equal(gpu.status, cpu.status)
    for name in ("nfev", "naccept", "nreject", "nfallback", "naccept_over"):
        np.testing.assert_array_equal(getattr(gpu.stats, name), getattr(cpu.stats, name), err_msg=name)
    np.testing.assert_allclose(gpu.t, cpu.t, rtol=rtol)
    np.testing.assert_allclose(gpu.y, cpu.y, rtol=rtol)
    if cpu.y_eval is not None:
        np.testing.assert_array_equal(np.isnan(gpu.y_eval), np.isnan(cpu.y_eval))
        np.testing.assert_allclose(gpu.y_eval, cpu.y_eval, rtol=rtol)


@pytest.fixture(scope="module")
def lorenz():
    """8 trajectories over unit time; lane 3 cannot start, lane 5 is so fast that it uses up its steps."""
    batch = ss.problems.sample("lorenz", n=8, seed=1)
    y0 = batch.y0.copy()
    y0[3] = 1e200
    y0[5] = 1e60
    return dataclasses.replace(batch, y0=y0, t1=np.ones(8))


def test_lorenz_and_two_failing_lanes(lorenz):
    grid = [0.0, 0.1, 0.5, 1.0]
    law = ss.controller("pi34")
    gpu = ss.solve_ensemble(lorenz, "tsit5", law, 1e-5, 1e-8, grid, device="cuda", max_steps=200)
    cpu = solve_ensemble(lorenz, "tsit5", law, 1e-5, 1e-8, grid, max_steps=200)
    expected = np.full(8, layout.SUCCESS)
    expected[[3, 5]] = layout.BAD_START, layout.MAX_STEPS
    np.testing.assert_array_equal(gpu.status, expected)
    same(gpu, cpu, 1e-9)
    good = gpu.success
    assert np.isfinite(gpu.y_eval[good]).all() and np.isnan(gpu.y_eval[[3, 5], 1:]).all()
    np.testing.assert_array_equal(gpu.y_eval[:, 0], lorenz.y0)
    assert gpu.message(3) == layout.MESSAGES[layout.BAD_START]


def test_more_trajectories_than_threads_a_block(lorenz):
    law = ss.controller("pi34")
    one = ss.solve_ensemble(lorenz, "tsit5", law, 1e-3, 1e-6, device="cuda", max_steps=60, block=8)
    many = ss.solve_ensemble(lorenz, "tsit5", law, 1e-3, 1e-6, device="cuda", max_steps=60, block=3)
    np.testing.assert_array_equal(one.y, many.y)
    np.testing.assert_array_equal(one.stats.nfev, many.stats.nfev)


def test_own_function_backward_learned_controller_and_blow_up():
    """A user's function that calls `exp` by another name; the network's answers; a lane whose solution ends at t = 1.
    """
    p = np.array([[0.1], [1.0], [-0.3]])
    t1 = np.array([1.5, 1.5, -0.5])
    batch = Batch(relaxing_blow_up, np.tile([1.0, 0.2], (3, 1)), p, np.zeros(3), t1)
    net = Learned.random(Decision(law="h211b"), (6,), rng=3, scale=1.0)
    gpu = cuda.solve_ensemble(batch, "bs32", net, 1e-4, 1e-7)
    cpu = solve_ensemble(batch, "bs32", net, 1e-4, 1e-7)
    assert gpu.success[[0, 2]].all() and gpu.status[1] in (layout.UNDERFLOW, layout.NON_FINITE)
    np.testing.assert_array_equal(gpu.status, cpu.status)
    ends = [0, 2]
    np.testing.assert_array_equal(gpu.stats.nfev[ends], cpu.stats.nfev[ends])
    np.testing.assert_allclose(gpu.y[ends], cpu.y[ends], rtol=1e-9)
    np.testing.assert_allclose(gpu.y[ends, 0], 1.0 / (1.0 - p[ends, 0] * t1[ends]), rtol=2e-3)
    np.testing.assert_allclose(gpu.t[1], 1.0, rtol=1e-2)

    broken = net.with_weights(np.full(net.n_weights, np.nan))
    law = cuda.solve_ensemble(batch, "bs32", ss.controller("h211b"), 1e-4, 1e-7)
    fallen = cuda.solve_ensemble(batch, "bs32", broken, 1e-4, 1e-7)
    np.testing.assert_array_equal(fallen.y, law.y)
    assert (fallen.stats.nfallback == fallen.stats.naccept + fallen.stats.nreject).all()


def test_every_activation_and_several_observations():
    """Layer by layer, as the device evaluates them, against the straight-line function of the CPU's lanes."""
    batch = ss.problems.sample("lotka_volterra", n=3, seed=2)
    rng, d = np.random.default_rng(4), Decision(("log_err", "log_ratio_1"), "pi34")
    acts = ("elu", "silu", "gelu", "gelu_tanh", "leaky_relu(0.1)", "linear")
    shapes = zip((4, 4, 4, 4, 4, 2), (4, 4, 4, 4, 4, 4), acts, strict=True)
    net = Learned(d, [(rng.normal(size=(b, a)), rng.normal(size=b), act) for b, a, act in shapes], frames=2)
    gpu = cuda.solve_ensemble(batch, "tsit5", net, 1e-3, 1e-6)
    cpu = solve_ensemble(batch, "tsit5", net, 1e-3, 1e-6)
    same(gpu, cpu, 1e-7)
    assert cpu.stats.nfallback.sum() == 0


def test_hermite_with_a_criterion():
    """Another family of methods, and a controller that chooses the first step."""
    batch = ss.problems.sample("three_body", n=3, seed=2)
    law = ss.controller("aarseth")
    short = dataclasses.replace(batch, t1=np.full(3, 0.3))
    same(cuda.solve_ensemble(short, "hermite4", law), solve_ensemble(short, "hermite4", law), 1e-9)


def test_step_and_tolerances_a_trajectory(lorenz):
    law = ss.controller("pi34")
    rtol = np.geomspace(1e-3, 1e-6, 8)
    atol = np.tile([1e-6, 1e-7, 1e-8], (8, 1))
    gpu = cuda.solve_ensemble(lorenz, "tsit5", law, rtol, atol, first_step=1e-3, max_steps=100)
    # an error estimate far below the tolerance is mostly cancellation: step sizes then agree to fewer digits
    same(gpu, solve_ensemble(lorenz, "tsit5", law, rtol, atol, first_step=1e-3, max_steps=100), 1e-7)


def test_lists_of_problems_what_is_kept_and_chunks(lorenz, capsys):
    problems = [lorenz[i] for i in (0, 1, 2)]
    grid, options = [0.1, 0.5, 1.0], {"rtol": 1e-4, "atol": 1e-6, "device": "cuda"}
    whole = ss.solve_ensemble(problems, t_eval=grid, **options)
    parts = ss.solve_ensemble(problems, t_eval=grid, output="max", chunk=2, progress=True, **options)
    np.testing.assert_array_equal(parts.output, whole.y_eval.max(axis=1))
    np.testing.assert_array_equal(parts.y, whole.y)
    np.testing.assert_array_equal(parts.stats.nfev, whole.stats.nfev)
    assert parts.y_eval is None and "3/3" in capsys.readouterr().err
    one = ss.solve_ensemble(problems[1], output=lambda sol: sol.t, **options)
    np.testing.assert_array_equal(one.output, whole.t[1:2])
    np.testing.assert_array_equal(one.y, whole.y[1:2])


def test_an_empty_batch():
    none = Batch(relaxing_blow_up, np.empty((0, 2)), np.empty((0, 1)), np.empty(0), np.empty(0))
    sol = cuda.solve_ensemble(none, "bs32", ss.controller("h211b"))
    assert sol.y.shape == (0, 2) and sol.success.shape == (0,)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"block": 0}, "block must be a whole number from 1 to 1024"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1"),
        ({"first_step": -1.0}, "first_step must be a positive finite number"),
        ({"t_eval": [2.0]}, "t_eval must lie within"),
        ({"rtol": -1.0}, "rtol must be finite and not negative"),
        ({"method": "tsit6"}, "tsit5"),
    ],
)
def test_bad_input(lorenz, change, message):
    with pytest.raises(ValueError, match=message):
        cuda.solve_ensemble(**{"batch": lorenz, "method": "tsit5", "controller": ss.controller("pi34"), **change})


@pytest.mark.parametrize("pair", [HEUN, FEHLBERG5], ids=["heun21", "fehlberg5"])
def test_a_tableau_that_is_not_fsal(lorenz, pair):
    """Every lane evaluates its own first slopes, and takes over those that its outputs needed."""
    law, grid = ss.controller("pi34"), [0.0, 0.03, 0.1]
    batch = dataclasses.replace(lorenz, t1=np.full(8, 0.1))
    gpu, cpu = (ss.solve_ensemble(batch, pair, law, 1e-2, 1e-3, grid, device=d, max_steps=60) for d in ("cuda", "cpu"))
    assert cpu.success.sum() >= 6
    same(gpu, cpu, 1e-9)
