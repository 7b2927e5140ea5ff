"""Plans of regularisers: with torchdiffeq and torchode, under every adjoint, in sums, and arguments that do not fit."""

import pytest
import torch

import stepsmith as ss
from plans import LOCAL, Field, T, seeded, with_torchdiffeq
from stepsmith.integrators.neural.regularisers import Sum
from torch_fields import F64, mlp, odeint, state

NeuralODE, regulariser = ss.neural.NeuralODE, ss.neural.regulariser
ELSEWHERE = {
    "kinetic": regulariser("kinetic"),
    "rnode": regulariser("rnode", jacobian=0.5),
    "taylor2": regulariser("taylor2"),
    "taylor3": regulariser("taylor3", over="sum"),
    "steer": regulariser("steer", b=0.3),
    "local": regulariser("local_unbiased", **LOCAL),
    "all": Sum(
        regulariser("kinetic"),
        (0.1, regulariser("taylor2")),
        regulariser("steer", b=0.3),
        regulariser("local_unbiased", **LOCAL),
    ),
}


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


@pytest.mark.parametrize(
    "name, step", [("local_biased", "automatic"), ("local_biased", "taken"), ("local_unbiased", "taken")]
)
def test_steps_taken_cannot_be_read_off_a_bare_tensor(name, step):
    plan = regulariser(name, **{**LOCAL, "step": step}).plan(Field(mlp()), state(), T)
    with pytest.raises(
        ValueError, match=f"{name}.*needs the steps that the solver took.*draw='uniform' and step='automatic'"
    ):
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
    ("local_biased", {"method": "dorpi5"}, "did you mean 'dopri5'"),
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
