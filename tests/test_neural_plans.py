"""Plans of regularisers: with torchdiffeq and torchode, in sums, with failed samples, repeated draws, and arguments that do not fit."""

import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.neural.regularisers import Solver, Sum
from torch_fields import F64, mlp, odeint, state

NeuralODE, regulariser = ss.neural.NeuralODE, ss.neural.regulariser
T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Field(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, t, y):
        return self.net(y) * (1 + 0.3 * torch.sin(t))


LOCAL = {"step": "automatic", "method": "dopri5", "rtol": 1e-2, "atol": 1e-2}
ELSEWHERE = {
    "kinetic": regulariser("kinetic"),
    "rnode": regulariser("rnode", jacobian=0.5),
    "taylor2": regulariser("taylor2"),
    "taylor3": regulariser("taylor3", over="sum"),
    "steer": regulariser("steer", b=0.3),
    "local": regulariser("local_unbiased", **LOCAL),
    "all": Sum(regulariser("kinetic"), (0.1, regulariser("taylor2")), regulariser("steer", b=0.3), regulariser("local_unbiased", **LOCAL)),
}


def with_torchdiffeq(plan):
    from torchdiffeq import odeint as solve

    return solve(plan.func, plan.y0, plan.t, rtol=1e-9, atol=1e-10, method="dopri5")


def with_torchdiffeq_adjoint(plan):
    from torchdiffeq import odeint_adjoint as solve

    return solve(plan.func, plan.y0, plan.t, rtol=1e-9, atol=1e-10, method="dopri5")


def with_torchode(plan):
    import torchode as to

    term = to.ODETerm(lambda t, y: plan.func(t[:, None], y))
    method = to.Dopri5(term)
    solver = to.AutoDiffAdjoint(method, to.IntegralController(1e-9, 1e-9, term=term))
    times = plan.t.expand(len(plan.y0), -1).contiguous()
    return solver.solve(to.InitialValueProblem(plan.y0, t_eval=times)).ys.transpose(0, 1)


@pytest.mark.parametrize("solve", [with_torchdiffeq, with_torchdiffeq_adjoint, with_torchode])
@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_another_solver_gives_the_same_penalty_and_gradients(name, solve):
    if solve is with_torchdiffeq_adjoint and name in ("rnode", "taylor2", "taylor3", "all"):
        pytest.skip("a second test of the same vector-Jacobian products: one integral is enough")
    field = Field(mlp())

    def gradients(solver):
        y0 = state().requires_grad_()
        plan = ELSEWHERE[name].plan(field, y0, T, seeded(4))
        y, penalty = plan.read(solver(plan))
        field.zero_grad()
        (penalty + y.square().mean()).backward()
        return [y.detach(), penalty.detach(), y0.grad, *(p.grad for p in field.parameters())]

    ours = gradients(lambda plan: odeint(plan.func, plan.y0, plan.t, "dopri5", rtol=1e-9, atol=1e-10, per_sample=False))
    for a, b in zip(ours, gradients(solve), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["er_mean", "sr_max"])
def test_heuristics_cannot_be_read_off_a_bare_tensor(name):
    plan = regulariser(name).plan(Field(mlp()), state(), T)
    with pytest.raises(ValueError, match=f"{name} needs the error and stiffness estimates.*stepsmith.neural.odeint"):
        plan.read(with_torchdiffeq(plan))


@pytest.mark.parametrize("name, step", [("local_biased", "automatic"), ("local_biased", "taken"), ("local_unbiased", "taken")])
def test_steps_taken_cannot_be_read_off_a_bare_tensor(name, step):
    plan = regulariser(name, **{**LOCAL, "step": step}).plan(Field(mlp()), state(), T)
    with pytest.raises(ValueError, match=f"{name}.*needs the steps that the solver took.*draw='uniform' and step='automatic'"):
        plan.read(with_torchdiffeq(plan))


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve", "interpolating"])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", ["local_unbiased", "local_biased"])
def test_local_penalties_and_their_gradients_do_not_depend_on_the_main_adjoint(adjoint, per_sample, name):
    def run(adjoint):
        ode = NeuralODE(Field(mlp()), rtol=1e-4, atol=1e-4, adjoint=adjoint, per_sample=per_sample, regulariser=name)
        penalty = ode(state(), T, seeded(2)).penalty
        return [penalty, *torch.autograd.grad(penalty, list(ode.parameters()))]

    for a, b in zip(run(adjoint), run("discrete"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)


def test_a_continuous_adjoint_gives_no_gradient_to_global_ones():
    field = Field(mlp())
    plan = regulariser("er_mean").plan(field, state(), T)
    result = odeint(plan.func, plan.y0, plan.t, adjoint="backsolve", per_sample=False)
    with pytest.raises(ValueError, match='er_mean needs gradients through every step: solve with adjoint="discrete"'):
        plan.read(result)


# -- sums --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_sum_reads_each_part_as_if_it_were_alone(per_sample):
    """Draws come in the order of the parts, so a sum with one random part draws what that part draws alone."""
    field, options = Field(mlp()), {"rtol": 1e-9, "atol": 1e-9, "per_sample": per_sample}
    parts = [regulariser(n) for n in ("kinetic", "taylor2", "taylor3")] + [regulariser("local_unbiased", **LOCAL)]
    alone = [NeuralODE(field, regulariser=p, **options)(state(), T, seeded(7)).penalty.item() for p in parts]
    out = NeuralODE(field, regulariser=Sum(*parts), **options)(state(), T, seeded(7))
    assert out.penalty.item() == pytest.approx(sum(alone), rel=1e-6)
    assert out.y.shape == (3, 5, 3) and out.solution.y.shape == (4, 5, 6)
    torch.testing.assert_close(out.y, NeuralODE(field, **options)(state(), T).y, rtol=1e-7, atol=1e-8)


def test_integrals_share_one_evaluation_of_the_field():
    field = Field(mlp())
    calls = []
    field.register_forward_hook(lambda *args: calls.append(1))
    plan = Sum(regulariser("kinetic"), regulariser("frobenius")).plan(field, state(), T)
    plan.func(torch.tensor(0.0, dtype=F64), plan.y0)
    assert len(calls) == 1 and plan.y0.shape == (5, 5) and list(plan.func.parameters()) == list(field.parameters())


def test_weights_must_be_positive_and_parts_regularisers():
    er = regulariser("er_mean")
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight must be a positive finite number"):
            weight * er
    with pytest.raises(TypeError, match="takes regularisers, got str"):
        Sum("er_mean")
    with pytest.raises(ValueError, match="at least one"):
        Sum()
    with pytest.raises(TypeError):
        er + 1.0
    assert repr(er + 0.1 * regulariser("steer", b=0.2)) == "1 * er_mean() + 0.1 * steer(b=0.2)"


# -- failures ----------------------------------------------------------------------------------------------------------

NAMES = ["er_mean", "er_max", "er2_sum", "sr_sum", "sr_max", "local_unbiased", "local_biased", "kinetic", "rnode", "taylor2", "taylor3"]


class Explosive(torch.nn.Module):
    """y' = w y for most samples; a row that starts at 100 blows up, one at 1000 has no slope at all."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(-0.7, dtype=F64))

    def forward(self, t, y):
        slope = torch.where(y > 50, self.w.abs() * y.abs() ** 2, self.w * torch.sin(y))
        return torch.where(y > 500, float("nan"), slope)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [100.0, 1000.0])
def test_a_failed_sample_changes_neither_penalty_nor_gradient(name, bad):
    good = torch.tensor([[0.3, 1.0], [0.7, -0.4]], dtype=F64)
    broken = torch.cat([good, torch.tensor([[bad, bad]], dtype=F64)])

    def run(y0):
        field = Explosive()
        ode = NeuralODE(field, regulariser=name, per_sample=True, max_steps=200, on_failure="status")
        # the same draws for the healthy rows, whatever the number of rows
        out = ode(y0, T, seeded())
        assert list(out.solution.status == 1) == [True, True, False][: len(y0)]
        return out.penalty.item(), torch.autograd.grad(out.penalty, field.w)[0].item()

    if name in ("rnode", "local_biased"):
        run = fixed_rows(name)
    alone, with_bad = run(good), run(broken)
    assert with_bad == pytest.approx(alone, rel=1e-9)
    assert all(abs(x) > 0 for x in alone)


def fixed_rows(name):
    """As the test's run, with the draws of the first two rows the same for two and for three rows."""
    from stepsmith.integrators.neural.regularisers import kinetic, local

    def run(y0):
        probe = torch.tensor([[0.5, -1.0], [2.0, 0.3], [1.0, 1.0]], dtype=F64)[: len(y0)]
        shares = torch.tensor([0.9, 0.4, 0.5], dtype=F64)[: len(y0)]
        kept = kinetic.normal_like, local.uniform
        kinetic.normal_like, local.uniform = (lambda *a: probe), (lambda *a: shares)
        try:
            field = Explosive()
            out = NeuralODE(field, regulariser=name, per_sample=True, max_steps=200, on_failure="status")(y0, T)
            return out.penalty.item(), torch.autograd.grad(out.penalty, field.w)[0].item()
        finally:
            kinetic.normal_like, local.uniform = kept

    return run


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("per_sample", [False, True])
def test_without_a_healthy_sample_the_penalty_is_zero(name, per_sample):
    field = Explosive()
    y0 = torch.full((3, 2), 1000.0, dtype=F64)
    out = NeuralODE(field, regulariser=name, per_sample=per_sample, on_failure="status")(y0, T)
    assert not out.solution.success and out.penalty.item() == 0.0
    assert not torch.isnan(out.penalty) and torch.isnan(out.y[-1]).all()


def test_a_step_that_blows_up_is_left_out():
    """The automatic step of one sample runs into a wall that the main solve's smaller steps never touch."""

    class Walled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

        def forward(self, t, y):
            return torch.where(y > 1.05, float("inf"), torch.sin(3 * self.w * y) + self.w * (1 + t) ** 2)

    reg = regulariser("local_unbiased", step="automatic", method="dopri5", rtol=1e-1, atol=1e-1)
    start = torch.tensor([[-5.0], [0.0], [-2.0]], dtype=F64)

    def read(rows):
        field = Walled()
        plan = reg.plan(field, start[rows], torch.tensor([0.0, 1.0], dtype=F64), seeded(1), Solver("dopri5", 1e-1, 1e-1, True))
        y = torch.stack([start[rows] + 0.1 * t for t in plan.t])
        if 1 in rows:
            y[1, rows.index(1)] = 1.04  # a state whose step crosses the wall
        penalty = plan.read(y)[1]
        return penalty, torch.autograd.grad(penalty, field.w)[0]

    (penalty, gradient), alone = read([0, 1, 2]), read([0, 2])
    torch.testing.assert_close((penalty, gradient), alone, rtol=1e-12, atol=0.0)
    assert penalty > 1e-6 and abs(gradient) > 1e-6
    # a mean over the two healthy ones, neither of them alone
    assert len({read([0])[0].item(), read([2])[0].item(), penalty.item()}) == 3


# -- draws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options", [("local_unbiased", {}), ("local_biased", {}), ("rnode", {}), ("steer", {"b": 0.3})])
def test_a_seed_fixes_the_draws_and_leaves_the_global_generator_alone(name, options):
    ode = NeuralODE(Field(mlp()), regulariser=regulariser(name, **options))
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    runs = [ode(state(), T, seeded(s)) for s in (3, 3, 4)]
    assert torch.equal(torch.rand(1), expected)
    value = [r.y[-1].sum() + r.penalty for r in runs]
    assert value[0] == value[1] and value[0] != value[2]
    torch.manual_seed(12)
    a = ode(state(), T)
    torch.manual_seed(12)
    b = ode(state(), T)
    assert torch.equal(a.y, b.y) and torch.equal(a.penalty, b.penalty)
    assert not torch.equal(a.y[-1] + a.penalty, runs[0].y[-1] + runs[0].penalty)


def test_unbiased_times_fill_the_interval_evenly():
    reg = regulariser("local_unbiased", **LOCAL)
    generator = seeded(0)
    drawn = torch.cat([plan.t[[i for i in range(len(plan.t)) if plan.t[i] not in T]] for plan in
                       (reg.plan(Field(mlp()), state(), T, generator) for _ in range(400))])
    counts = torch.histc(drawn, 4, 0.0, 1.0)
    assert len(drawn) == 400 and counts.min() > 70 and counts.max() < 130


def test_float32_and_decreasing_times_keep_their_dtype_and_order():
    y0, t = state(dtype=torch.float32), torch.tensor([1.0, 0.6, 0.0])
    both = regulariser("steer", b=0.2) + regulariser("local_unbiased")
    ode = NeuralODE(Field(mlp(dtype=torch.float32)), rtol=1e-3, atol=1e-3, regulariser=both)
    for seed in range(5):
        out = ode(y0, t, seeded(seed))
        assert out.y.dtype == out.penalty.dtype == out.solution.t.dtype == torch.float32
        assert (out.solution.t.diff() < 0).all() and len(out.solution.t) == 4 and out.y.shape == (3, 5, 3)


def test_a_drawn_time_that_is_an_output_time_is_not_asked_for_twice(monkeypatch):
    from stepsmith.integrators.neural.regularisers import local

    monkeypatch.setattr(local, "uniform", lambda *args: torch.tensor(0.4, dtype=F64))
    plan = regulariser("local_unbiased", **LOCAL).plan(Field(mlp()), state(), T)
    assert torch.equal(plan.t, T)
    y, penalty = plan.read(with_torchdiffeq(plan))
    assert y.shape == (3, 5, 3) and penalty > 0


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options, message", [
    ("er", {}, "unknown regulariser 'er': did you mean"),
    ("local", {}, "did you mean 'local_"),
    ("er_mean", {"weight": 1}, "'er_mean'.*weight"),
    ("steer", {}, "'steer'.*b"),
    ("steer", {"b": 0.0}, "b must be a positive finite number"),
    ("kinetic", {"over": "max"}, "unknown kinetic: over 'max': did you mean 'mean'"),
    ("rnode", {"jacobian": 0.0}, "weight must be a positive finite number"),
    ("local_unbiased", {"step": "own"}, "unknown local: step 'own': known: automatic, taken"),
    ("local_biased", {"of": "stiffness", "method": "bs32"}, "bs32.*no stage-based stiffness"),
    ("local_biased", {"method": "dorpi5"}, "nearest: dopri5"),
    ("local_biased", {"rtol": -1.0}, "rtol must be a finite number of at least 0"),
])  # fmt: skip
def test_names_and_options_that_do_not_fit(name, options, message):
    with pytest.raises(ValueError, match=message):
        regulariser(name, **options)


def test_problems_that_do_not_fit():
    field = Field(mlp())
    with pytest.raises(ValueError, match=r"b = 0.7 must be smaller than the last interval of t, 0.6"):
        regulariser("steer", b=0.7).plan(field, state(), T)
    with pytest.raises(ValueError, match="needs method, rtol, atol"):
        regulariser("local_unbiased").plan(field, state(), T)
    with pytest.raises(ValueError, match="t must be strictly"):
        regulariser("kinetic").plan(field, state(), [0.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="y0 must be a tensor"):
        regulariser("kinetic").plan(field, [1.0], T)
    with pytest.raises(ValueError, match="func must return a tensor like y, of shape"):
        plan = regulariser("kinetic").plan(lambda t, y: y[:, :1], state(), T)
        odeint(plan.func, plan.y0, plan.t)
    plan = regulariser("kinetic").plan(field, state(), T)
    with pytest.raises(ValueError, match=r"must have shape \(3, 5, 4\).*got \(3, 5, 3\)"):
        plan.read(torch.zeros(3, 5, 3))
    with pytest.raises(ValueError, match="reads a NeuralSolution or a tensor, got list"):
        plan.read([1.0])


def test_a_probe_does_not_go_with_compact_batches():
    with pytest.raises(ValueError, match="frobenius.*compact=True"):
        NeuralODE(Field(mlp()), per_sample=True, compact=True, regulariser="frobenius")
    with pytest.raises(ValueError, match="needs heuristics='values' or True, got False"):
        NeuralODE(Field(mlp()), heuristics=False, regulariser="local_biased")
    automatic = regulariser("local_unbiased", step="automatic")
    assert NeuralODE(Field(mlp()), heuristics=False, per_sample=True, regulariser=automatic)(state(), T).penalty > 0


@pytest.mark.parametrize("name", ss.neural.REGULARISERS)
def test_every_name_works_and_describes_itself(name):
    import json

    reg = regulariser(name, **({"b": 0.1} if name == "steer" else {}))
    out = NeuralODE(Field(mlp()), regulariser=reg)(state(), T)
    assert torch.isfinite(out.penalty) and (out.penalty > 0 or name == "steer")
    assert json.loads(json.dumps(reg.describe()))["name"] == reg.name
