"""NeuralODE with states of any form, tolerances of components, norms and methods on a grid: it is `odeint`."""

import pytest
import torch
import torchdiffeq
from torch.utils import _pytree as tree

import stepsmith as ss
from module_fields import Field, Largest, Pair, close, pair, seeded, total
from torch_fields import F64, state

NeuralODE, odeint, regulariser = ss.neural.NeuralODE, ss.neural.odeint, ss.neural.regulariser
T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)

OPTIONS = {
    "plain": {},
    "adjoint": {"adjoint": "backsolve"},
    "checkpoints": {"checkpoint_every": 2},
    "components": {"rtol": {"p": 1e-3, "x": torch.tensor([1e-4, 1e-6, 1e-5])}, "atol": {"p": 1e-8, "x": 1e-7}},
    "norm": {"norm": Largest(), "rtol": 1e-4},
    "grid": {"method": "rk4", "step_size": 0.15},
    "grid of times": {"method": "midpoint"},
    "grid, adjoint": {"method": "heun3", "step_size": 0.15, "adjoint": "backsolve"},
}


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_values_and_gradients_are_those_of_odeint(name, per_sample):
    given = OPTIONS[name]
    if per_sample and name == "norm":
        pytest.skip("a norm is that of the whole state")
    func = Pair()
    found = []
    for solve in (
        lambda y0: NeuralODE(func, per_sample=per_sample, **given)(y0, T),
        lambda y0: odeint(func, y0, T, per_sample=per_sample, **given),
    ):
        y0 = pair()
        out = solve(y0)
        assert set(out.y) == {"x", "p"} and out.y["x"].shape == (3, 5, 3) and out.y["p"].shape == (3, 5)
        found.append((out.y, torch.autograd.grad(total(out.y), [*func.parameters(), *y0.values()])))
    close(*found, tol=0.0 if name != "adjoint" else 1e-12)


@pytest.mark.parametrize("y0", [torch.tensor(0.7, dtype=F64), torch.ones(4, dtype=F64), (state(), state(2))])
def test_other_forms_and_what_is_said_of_them(y0):
    field = lambda t, y: tree.tree_map(torch.neg, y)  # noqa: E731
    out = NeuralODE(field, "dopri5", regulariser="er_mean")(y0, T)
    theirs = torchdiffeq.odeint(field, y0, T, rtol=1e-9, atol=1e-9)
    close(out.y, theirs, tol=1e-6)
    assert type(out.y) is type(y0) and out.mask.shape == (1,) and out.penalty > 0


def test_tolerances_of_components_and_trees_on_a_grid_are_torchdiffeqs():
    """torchdiffeq takes a tuple and one number for each part; on a grid its numbers are ours."""
    func = Pair()
    swap = lambda t, s: tuple(func(t, {"x": s[0], "p": s[1]})[k] for k in ("x", "p"))  # noqa: E731
    x, p = pair().values()
    ours = NeuralODE(swap, "rk4", step_size=0.1)((x, p), T)
    theirs = torchdiffeq.odeint(swap, (x, p), T, method="rk4", options={"step_size": 0.1, "interp": "cubic"})
    close(ours.y, theirs)
    gradients = [torch.autograd.grad(total(y), [x, p, *func.parameters()]) for y in (ours.y, theirs)]
    close(*gradients)
    fine = torchdiffeq.odeint(swap, (x, p), T, rtol=1e-10, atol=1e-12)
    loose = NeuralODE(swap, rtol=(1e-9, 1e-2), atol=(1e-10, 1e-2))((x, p), T)
    both = NeuralODE(swap, rtol=1e-2, atol=1e-2)((x, p), T)
    assert (loose.y[0] - fine[0]).abs().max() < 1e-7 < (both.y[0] - fine[0]).abs().max()


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", ["er_sum", "er_mean", "er2_sum", "sr_mean"])
def test_the_penalty_of_a_tree_is_that_of_its_steps(name, per_sample):
    func, y0 = Pair(), pair()
    out = NeuralODE(func, per_sample=per_sample, regulariser=name)(y0, T)
    sol = odeint(func, y0, T, per_sample=per_sample)
    h = sol.heuristics
    values = {"er_sum": h.E * h.h, "er_mean": h.E * h.h, "er2_sum": h.E**2, "sr_mean": h.S * h.h}[name]
    n = torch.from_numpy(sol.stats.naccept_per_sample) if per_sample else len(h.h)
    expected = (values.sum(0) / n if name.endswith("mean") else values.sum(0)).mean()
    close(out.y, sol.y, 0.0)
    inputs = list(func.parameters())
    grads = [torch.autograd.grad(p, inputs, retain_graph=True) for p in (out.penalty, expected)]
    close((out.penalty, *grads[:1]), (expected, *grads[1:]), 1e-10)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("options", [
    {"name": "local_biased"}, {"name": "local_unbiased"},
    {"name": "kinetic"}, {"name": "taylor2"}, {"name": "frobenius"},
])  # fmt: skip
def test_a_state_in_one_part_has_the_penalty_of_its_tensor(options, per_sample):
    """One part, one norm: the steps are those of the tensor, and so is the penalty."""
    func, y0 = Field(), state()
    made = lambda: regulariser(**options)  # noqa: E731
    whole = NeuralODE(func, per_sample=per_sample, regulariser=made(), rtol=1e-5, atol=1e-5)
    part = NeuralODE(
        lambda t, s: (func(t, s[0]),), per_sample=per_sample, regulariser=made(), rtol=1e-5, atol=1e-5
    )
    a, b = whole(y0, T, seeded()), part((y0,), T, seeded())
    integral = not options["name"].startswith("local")
    # a column is a part of its own in the tree's norm: other steps, the same integral
    tol = 1e-4 if integral else 1e-10
    close(a.y, b.y[0], tol)
    close(a.penalty, b.penalty, tol)
    close(*(torch.autograd.grad(x.penalty, list(func.parameters())) for x in (a, b)), tol=10 * tol)
    if integral:
        assert type(b.solution.y) is tuple and b.solution.y[1].shape[-1] == 1


def test_a_local_step_is_measured_as_the_solve_is():
    """Tolerances of components and a norm of one's own are those of the local step, too."""
    func, y0 = Field(), state()
    each = {"rtol": torch.tensor([1e-3, 1e-5, 1e-4], dtype=F64), "atol": torch.full((3,), 1e-5, dtype=F64)}
    same = {"rtol": torch.full((3,), 1e-4, dtype=F64), "atol": 1e-5}
    rms = lambda y: y.square().mean().sqrt()  # noqa: E731
    for given, plain in ((same, {"rtol": 1e-4, "atol": 1e-5}), ({"norm": rms, **same}, {"rtol": 1e-4, "atol": 1e-5})):
        for name in ("local_biased", "local_unbiased"):
            reg = regulariser(name, step="automatic")
            a = NeuralODE(func, regulariser=reg, **given)(y0, T, seeded())
            close(a.penalty, NeuralODE(func, regulariser=reg, **plain)(y0, T, seeded()).penalty, 1e-9)
    one = torch.tensor([0.0, 1.0], dtype=F64)
    # one step from the start to the end: E h is that of the solve's own step
    law = {"first_step": 1.0, **each, "per_sample": True, "min_step": 1.0}
    out = NeuralODE(func, regulariser="local_biased", **law)(y0, one, seeded())
    heuristics = out.solution.heuristics
    assert heuristics.h.shape == (1, 5)
    close(out.penalty, (heuristics.E * heuristics.h).mean(), 1e-10)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("size", [None, 0.15])
def test_regularisers_that_need_no_estimates_work_on_a_grid(size, per_sample):
    func, y0 = Field(), state()
    given = {"per_sample": per_sample, "step_size": size}
    fine = NeuralODE(func, regulariser=regulariser("rnode"), rtol=1e-9, atol=1e-9)(y0, T, seeded())
    out = NeuralODE(func, "rk4", regulariser=regulariser("rnode"), **given)(y0, T, seeded())
    close(out.penalty, fine.penalty, 1e-2)
    close(out.y, odeint(func, y0, T, "rk4", **given).y, 0.0)
    out.penalty.backward()
    assert max(p.grad.abs().max() for p in func.parameters()) > 0
    steered = NeuralODE(func, "rk4", regulariser=regulariser("steer", b=0.2), **given)(y0, T, seeded())
    assert steered.solution.t[-1] != T[-1]
    close(steered.y, odeint(func, y0, steered.solution.t, "rk4", **given).y, 0.0)
    evaluated = NeuralODE(func, "rk4", regulariser=regulariser("rnode"), **given).eval()(y0, T)
    assert evaluated.penalty == 0 and evaluated.solution.heuristics is None


def test_a_local_step_of_its_own_beside_a_grid():
    own = {"method": "tsit5", "rtol": 1e-6, "atol": 1e-9}
    reg = regulariser("local_unbiased", step="automatic", **own)
    func = Field()
    for per_sample in (False, True):
        given = {"per_sample": per_sample, "regulariser": reg}
        on_grid = NeuralODE(func, "rk4", step_size=0.01, **given)(state(), T, seeded())
        adaptive = NeuralODE(func, rtol=1e-9, atol=1e-9, **given)(state(), T, seeded())
        close(on_grid.penalty, adaptive.penalty, 1e-6)
        close(on_grid.y, odeint(func, state(), T, "rk4", step_size=0.01, per_sample=per_sample).y, 1e-13)


def test_failures_on_a_grid_and_in_trees():
    class Power(torch.nn.Module):
        def forward(self, t, s):
            return {"a": s["a"] ** 3, "b": -s["b"]}

    y0 = {"a": torch.tensor([0.1, 5.0, 0.3], dtype=F64), "b": torch.ones(3, 2, dtype=F64)}
    for given in ({"max_steps": 60, "rtol": 1e-6}, {"method": "euler", "step_size": 0.05}):
        with pytest.raises(RuntimeError, match="1 of 3 samples failed, number 1"):
            NeuralODE(Power(), per_sample=True, **given)(y0, T)
        with pytest.warns(UserWarning, match="masked: out.mask"):
            out = NeuralODE(Power(), per_sample=True, on_failure="mask", **given)(y0, T)
        assert out.mask.tolist() == [True, False, True]
        assert torch.equal(out.y["a"][-1, 1], y0["a"][1]) and torch.equal(out.y["b"][-1, 1], y0["b"][1])
        assert out.y["a"].isfinite().all() and out.solution.y["a"][-1, 1].isnan()
        with pytest.warns(UserWarning, match="outputs are NaN"):
            out = NeuralODE(Power(), per_sample=True, on_failure="warn", **given)(y0, T)
        assert out.y["b"][-1, 1].isnan().all() and out.y["b"][-1, [0, 2]].isfinite().all()
    with pytest.warns(UserWarning, match="the solve failed.*masked"):
        out = NeuralODE(Power(), on_failure="mask", max_steps=60, rtol=1e-6)(y0, T)
    assert out.mask.tolist() == [False] and torch.equal(out.y["b"][-1], y0["b"])
