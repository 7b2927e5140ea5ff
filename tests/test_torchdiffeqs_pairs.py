"""The pairs that torchdiffeq has under the same names: its coefficients, its steps, gradients, orders; and `bosh3`,
another name of `bs32`.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchdiffeq = pytest.importorskip("torchdiffeq")

import stepsmith as ss  # noqa: E402
from stepsmith.controllers.hosts import torchdiffeq as host  # noqa: E402
from stepsmith.controllers.laws import registry  # noqa: E402
from stepsmith.integrators import methods  # noqa: E402
from stepsmith.integrators.methods import tableaus  # noqa: E402
from stepsmith.integrators.methods.places import ALIASES, FOREIGN  # noqa: E402
from stepsmith.train.cli import listing  # noqa: E402

importlib.import_module("torchdiffeq")
SOLVERS = sys.modules["torchdiffeq._impl.odeint"].SOLVERS
F64 = torch.float64
SAME = ("adaptive_heun", "fehlberg2", "dopri8", "bosh3")
each = pytest.mark.parametrize("name", FOREIGN)


def test_every_pair_of_torchdiffeqs_has_its_name_here():
    adaptive = {name for name, solver in SOLVERS.items() if hasattr(solver, "tableau")}
    assert adaptive == {*SAME, "dopri5"} == set(host.METHODS)
    for theirs, ours in host.METHODS.items():
        assert methods.registered(theirs) == ours == methods.registered(ours)


@pytest.mark.parametrize("name", SAME)
def test_coefficients_are_torchdiffeqs(name):
    ours, theirs = tableaus.get(name), SOLVERS[name].tableau
    np.testing.assert_array_max_ulp(ours.C[1:], theirs.alpha.numpy(), 1)
    np.testing.assert_array_max_ulp(ours.B, theirs.c_sol.numpy(), 1)
    for i, row in enumerate(theirs.beta, 1):
        np.testing.assert_array_max_ulp(ours.A[i, :i], row.numpy(), 1)
    # theirs are differences of rounded weights, and adaptive_heun's have the other sign
    sign = -1.0 if name == "adaptive_heun" else 1.0
    np.testing.assert_allclose(ours.E, sign * theirs.c_error.numpy(), rtol=0, atol=np.spacing(1.0))
    assert SOLVERS[name].order == ours.embedded_order + 1


def field(t, y):
    x, v = y[..., 0], y[..., 1]
    return torch.stack([v, -(x**3) - 0.1 * v + torch.cos(2.0 * t).reshape(-1)], -1)


def their_steps(name, y0, end, rtol, fresh, first=None):
    """Starts, sizes and ends of torchdiffeq's accepted steps.  fresh: every step begins with the slope at its start."""
    found = []

    def step(self, state):
        after = SOLVERS[name]._adaptive_step(self, state)
        if after.t1 > state.t1:
            found.append((float(state.t1), float(state.dt), after.y1.numpy().copy()))
            if fresh:
                after = after._replace(f1=self.func(after.t1, after.y1))
        return after

    SOLVERS["logged"] = type("Logged", (SOLVERS[name],), {"_adaptive_step": step})
    try:
        with torch.no_grad():
            torchdiffeq.odeint(
                field, torch.tensor(y0, dtype=F64), torch.tensor([0.0, end]).double(), method="logged", rtol=rtol,
                atol=rtol * 1e-2, options={"first_step": first},
            )  # fmt: skip
    finally:
        del SOLVERS["logged"]
    return [np.array(x) for x in zip(*found, strict=True)]


def our_steps(name, y0, end, rtol, first):
    sol = ss.neural.odeint(
        field, torch.tensor(y0, dtype=F64), [0.0, end], name, "torchdiffeq", rtol=rtol, atol=rtol * 1e-2,
        adjoint="none", per_sample=False, first_step=first,
    )  # fmt: skip
    assert sol.success
    return sol.heuristics.t.numpy().ravel(), sol.heuristics.h.numpy().ravel(), sol


@pytest.mark.parametrize(
    "name, rtol, first",
    # the estimate of dopri8's automatic first step is round-off
    [("dopri8", 1e-7, 0.5), ("bosh3", 1e-4, None), ("adaptive_heun", 1e-3, None), ("fehlberg2", 1e-5, None)],
)
def test_steps_are_torchdiffeqs(name, rtol, first):
    """But the last: torchdiffeq passes the end, and interpolates back."""
    y0 = [[1.0, 0.5], [-0.4, 0.2], [0.3, 1.0]]
    starts, sizes, _ = their_steps(name, y0, 3.0, rtol, not tableaus.get(name).fsal, first)
    t, h, sol = our_steps(name, y0, 3.0, rtol, first)
    assert len(t) == len(starts) >= 8 and sol.stats.naccept == len(t)
    np.testing.assert_allclose(t, starts, rtol=1e-9, atol=0)
    np.testing.assert_allclose(h[:-2], sizes[:-2], rtol=1e-9)


@pytest.mark.parametrize("name", ["adaptive_heun", "fehlberg2"])
def test_torchdiffeqs_own_steps_begin_with_another_slope(name):
    """What the documentation says of these two: equal in the first step, and not after it."""
    _, _, ends = their_steps(name, [[1.0, 0.5]], 1.0, 1e-3, fresh=False)
    _, _, fresh = their_steps(name, [[1.0, 0.5]], 1.0, 1e-3, fresh=True)
    np.testing.assert_array_equal(ends[0], fresh[0])
    assert np.abs(ends[1] - fresh[1]).max() > 1e-12


@each
@pytest.mark.parametrize("checkpoint_every", [None, 2])
def test_gradcheck(name, checkpoint_every):
    """Outputs within steps, at their ends and the estimates, by the start and a parameter."""
    y0 = torch.tensor([[0.4, -0.3], [0.1, 0.8]], dtype=F64, requires_grad=True)
    w = torch.tensor([[0.3, -1.0], [0.8, 0.1]], dtype=F64, requires_grad=True)
    step = registry.get("constant", h=0.25)

    def run(y0, w):
        sol = ss.neural.odeint(
            lambda t, y: torch.tanh(y @ w) + t, y0, [0.0, 0.6, 1.0], name, step, first_step=0.25,
            checkpoint_every=checkpoint_every, rtol=1e-2, atol=1e-2,
        )  # fmt: skip
        return sol.y, sol.heuristics.R_E

    assert torch.autograd.gradcheck(run, (y0, w), rtol=1e-4, atol=1e-6)


def rhs(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0]


@each
def test_the_compiled_engine(name):
    """Orders of the solution and of its dense output, and evaluations, by steps of one size."""
    tableau, sizes = tableaus.get(name), (0.5, 0.25) if name == "dopri8" else (0.0625, 0.03125)
    problem = ss.Problem(rhs, [1.0, 0.5], (0.0, 4.0))
    inner, ends, off = np.linspace(0.03, 3.97, 150), [], []
    for h in sizes:
        step = registry.get("constant", h=h)
        sol = ss.solve(problem, name, step, first_step=h)
        dense = ss.solve(problem, name, step, first_step=h, t_eval=inner)
        n = round(4.0 / h)
        assert sol.success and sol.stats.naccept == dense.stats.naccept == n
        assert sol.stats.nfev - (tableau.stages - 1) * n in ((1, 2) if tableau.fsal else (n, n + 1))
        exact = lambda t: np.cos(t) + 0.5 * np.sin(t)  # noqa: E731
        ends.append(abs(sol.y[-1, 0] - exact(4.0)))
        off.append(np.abs(dense.y[:, 0] - exact(inner)).max())
    # dopri8's leading term is so small that the next one shows
    assert np.log2(ends[0] / ends[1]) == pytest.approx(tableau.order, abs=1.0 if name == "dopri8" else 0.5)
    # an error of h^(dense_order + 1) in every step stands beside that of the steps before
    assert np.log2(off[0] / off[1]) == pytest.approx(min(tableau.order, tableau.dense_order + 1), abs=0.5)


def kepler(t, y, p, dy):
    """An orbit of eccentricity 1/2, semi-axis 1."""
    cube = (y[0] ** 2 + y[1] ** 2) ** 1.5
    dy[0], dy[1], dy[2], dy[3] = y[2], y[3], -y[0] / cube, -y[1] / cube


def test_dopri8_takes_fewer_evaluations_than_dop853_where_outputs_are_dense():
    """As docs/methods.md says, with the bound of steps' evaluations; the exact orbit is that of Kepler's equation."""
    t = np.linspace(0.0, 20.0, 401)[1:]
    anomaly = t.copy()
    for _ in range(60):  # Newton's method
        anomaly -= (anomaly - 0.5 * np.sin(anomaly) - t) / (1.0 - 0.5 * np.cos(anomaly))
    exact = np.stack([np.cos(anomaly) - 0.5, np.sqrt(0.75) * np.sin(anomaly)], 1)
    problem = ss.Problem(kepler, [0.5, 0.0, 0.0, np.sqrt(3.0)], (0.0, 20.0))

    def work(method, outputs, at):
        """Evaluations at a largest error of 1e-7, of outputs or at the end."""
        logs = []
        for tol in 10.0 ** np.arange(-6.0, -10.0, -0.5):
            sol = ss.solve(problem, method, rtol=tol, atol=tol, t_eval=outputs)
            logs.append((np.log(np.abs(sol.y[at, :2] - exact[at]).max()), np.log(sol.stats.nfev)))
        error, nfev = np.array(logs).T
        assert error.max() > np.log(1e-7) > error.min()
        return np.exp(np.polyval(np.polyfit(error, nfev, 2), np.log(1e-7)))

    dense = [work(method, t, slice(None)) for method in ("dopri8", "dop853")]
    ends = [work(method, t[-1:], slice(-1, None)) for method in ("dopri8", "dop853")]
    assert dense[0] < 0.9 * dense[1] and ends[0] < 1.05 * ends[1]
    tableau, other = tableaus.get("dopri8"), tableaus.get("dop853")
    assert (tableau.stages - 1, tableau.dense_stages, other.stages - 1, other.dense_stages) == (13, 1, 12, 3)


def test_bosh3_is_bs32():
    assert ALIASES["bosh3"] == "bs32" and not set(ALIASES) & set(methods.names())
    assert methods.get("bosh3") is methods.get("bs32") and tableaus.get("bosh3") is tableaus.get("bs32")
    assert methods.named("bosh3") == methods.registered("bosh3") == "bs32"
    for alias, name in ALIASES.items():
        (line,) = [text for row, text in listing.LISTS["methods"]() if row == name]
        assert f"also called {alias}" in line
    with pytest.raises(ValueError, match="did you mean 'bosh3'"):
        methods.get("bosch3")
    with pytest.raises(ValueError, match="there is a method 'bosh3' already"):
        methods.register(methods.Method(**{**vars(methods.get("hermite4")), "name": "bosh3"}))


def test_bosh3_has_no_kernel_of_its_own(monkeypatch):
    engine, built = importlib.import_module("stepsmith.integrators.engine.solve"), []
    made = engine.single_kernel
    monkeypatch.setattr(engine, "single_kernel", lambda *given: built.append(made(*given)) or built[-1])
    problem = ss.Problem(rhs, [1.0, 0.5], (0.0, 1.0))
    one, two = (ss.solve(problem, name, "pi34", 1e-6, 1e-6) for name in ("bs32", "bosh3"))
    assert len(built) == 2 and built[0] is built[1] and np.array_equal(one.y, two.y)
    y0 = torch.tensor([[1.0, 0.5]], dtype=F64)
    assert ss.neural.odeint(field, y0, [0.0, 1.0], "bosh3", adjoint="none").heuristics.method == "bs32"
