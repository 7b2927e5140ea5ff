"""NeuralODE: what it solves in training and in eval mode, what it hands out, and which combinations it refuses."""

import copy
import inspect
import math

import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.core.brief import brief
from torch_fields import F64, field_of, mlp, odeint, state

NeuralODE = ss.neural.NeuralODE
T = torch.linspace(0.0, 1.0, 4, dtype=F64)


class Field(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, t, y):
        return self.net(y) * (1 + 0.3 * torch.sin(t))


def test_it_is_odeint_with_one_step_for_the_batch_and_the_fields_parameters():
    net = mlp()
    ode = NeuralODE(Field(net), "dopri5", "i", 1e-7, 1e-8)
    assert [id(p) for p in ode.parameters()] == [id(p) for p in net.parameters()]
    out = ode(state(), T)
    plain = odeint(field_of(net), state(), T, "dopri5", "i", rtol=1e-7, atol=1e-8, per_sample=False)
    assert torch.equal(out.y, plain.y) and out.penalty.shape == () and out.penalty == 0
    assert out.solution.heuristics.h.dim() == 1 and out.solution.stats.nfev == plain.stats.nfev


@pytest.mark.parametrize("per_sample", [False, True])
def test_eval_mode_and_no_grad_pay_nothing_for_a_regulariser(per_sample):
    ode = NeuralODE(Field(mlp()), regulariser="er_sum", per_sample=per_sample)
    plain = NeuralODE(ode.func, per_sample=per_sample)(state(), T)
    trained = ode(state(), T)
    assert trained.penalty > 0 and trained.penalty.requires_grad
    ode.eval()
    out = ode(state(), T)
    assert out.penalty == 0 and not out.penalty.requires_grad and torch.equal(out.y, plain.y)
    ode.train()
    with torch.no_grad():
        out = ode(state(), T)
    assert out.penalty == 0 and not out.y.requires_grad and out.solution.stats.nfev_replay == 0


def test_options_reach_the_solver_and_controllers_are_found_by_name():
    ode = NeuralODE(Field(mlp()), controller="h211b", adjoint="none", max_steps=2, per_sample=True, on_failure="warn")
    assert ode(state(), T).solution.stats.nreject + ode(state(), T).solution.stats.naccept <= 2 * 5 * 2
    assert not ode(state(), T).y.requires_grad
    with pytest.raises(ValueError, match="did you mean"):
        NeuralODE(Field(mlp()), controller="pi43")


def test_it_is_copied_saved_and_loaded_like_any_module():
    a = NeuralODE(Field(mlp()), regulariser="er_mean")
    b = copy.deepcopy(a)
    with torch.no_grad():
        for p in b.parameters():
            p.zero_()
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(state(), T).penalty, b(state(), T).penalty)
    assert "er_mean" in repr(a) and "tsit5" in repr(a)


def test_a_plain_function_will_do():
    out = NeuralODE(lambda t, y: -y, regulariser="er_mean")(state().requires_grad_(), T)
    assert out.penalty.requires_grad and out.y.shape == (4, 5, 3)


def test_training_with_the_penalty_takes_fewer_evaluations():
    """Two copies of one net learn the same map of z(0) to z(1): the penalised one arrives with fewer steps."""
    spent = {}
    for name, strength in ((None, 0.0), ("er_mean", 100.0)):
        ode = NeuralODE(Field(mlp(scale=3.0)), rtol=1e-6, atol=1e-6, regulariser=name)
        optimiser = torch.optim.Adam(ode.parameters(), 1e-2)
        for _ in range(60):
            out = ode(state(), T[[0, -1]])
            loss = (out.y[-1] - 0.5).square().mean() + strength * out.penalty
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        spent[name] = ode.eval()(state(), T[[0, -1]]).solution.stats.nfev
    assert spent["er_mean"] < spent[None]


def test_what_does_not_fit_is_refused_at_once():
    with pytest.raises(ValueError, match="unknown regulariser 'er_men': did you mean 'er_mean'"):
        NeuralODE(Field(mlp()), regulariser="er_men")
    with pytest.raises(ValueError, match="a name, a Regulariser or None; got float"):
        NeuralODE(Field(mlp()), regulariser=0.5)
    with pytest.raises(ValueError, match=r"func must be callable as func\(t, y\), got int"):
        NeuralODE(3)
    with pytest.raises(ValueError, match='er_mean.*adjoint="discrete"; got \'none\''):
        NeuralODE(Field(mlp()), regulariser="er_mean", adjoint="none")
    for given in (False, "values", "S"):
        with pytest.raises(ValueError, match=f"er_mean.*needs heuristics='E' or True, got {given!r}"):
            NeuralODE(Field(mlp()), regulariser="er_mean", heuristics=given)
    with pytest.raises(ValueError, match="bs32.*no stage-based stiffness"):
        NeuralODE(Field(mlp()), "bs32", regulariser="sr_mean")(state(), T)


@pytest.mark.parametrize("name, options", [("kinetic", {}), ("frobenius", {}), ("taylor2", {}), ("steer", {"b": 0.1})])
def test_a_penalty_without_gradient_is_refused(name, options):
    reg = ss.neural.regulariser(name, **options)
    for given in (reg, ss.neural.regulariser("local_biased") + 0.5 * reg):
        with pytest.raises(ValueError, match=f'adjoint="none" leaves the penalty of .*{name}.* without gradient'):
            NeuralODE(Field(mlp()), adjoint="none", regulariser=given)


def test_a_local_penalty_has_its_gradient_without_an_adjoint():
    found = []
    for adjoint in ("none", "discrete"):
        ode = NeuralODE(Field(mlp()), rtol=1e-4, atol=1e-4, adjoint=adjoint, regulariser="local_biased")
        out = ode(state(), T, torch.Generator().manual_seed(2))
        found.append(torch.autograd.grad(out.penalty, list(ode.parameters())))
    assert max(g.abs().max() for g in found[0]) > 0
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("options, message", [
    ({"method": "dorpi5"}, "dorpi5.*did you mean .dopri5."),
    ({"rtol": -1e-3}, "rtol must be a finite number of at least 0 and at most 1, got -0.001"),
    ({"rtol": 0.0, "atol": 0.0}, "must not be both zero"),
    ({"rtol": "1e-3"}, "rtol must be a finite number .*, got '1e-3'"),
    ({"atol": None}, "atol must be a finite number .*, got None"),
    ({"atol": float("nan")}, "atol must be a finite number .*, got nan"),
    ({"adjoint": "discreet"}, "unknown adjoint 'discreet': did you mean 'discrete'"),
    (
        {"maxsteps": 10},
        r"NeuralODE\(\) has no option 'maxsteps': did you mean 'max_steps'\?.*, steps, strength, tolerance, warm_start",
    ),
    ({"max_steps": 0}, "max_steps must be a whole number of at least 1, got 0"),
    ({"max_steps": None}, "max_steps must be a whole number of at least 1, got None"),
    ({"checkpoint_every": [2]}, r"checkpoint_every must be a whole number of at least 1 or None, got \[2\]"),
    ({"first_step": 0.0}, "first_step must be a positive finite number or None, got 0.0"),
    ({"compact": True}, "compact=True needs per_sample=True"),
    ({"adjoint_rtol": 1e-3}, "adjoint_rtol belongs to adjoint=backsolve"),
    ({"adjoint": "backsolve", "checkpoint_every": 2}, "checkpoint_every belongs"),
    ({"adjoint": "backsolve", "adjoint_atol": -1.0}, "adjoint_atol must be a finite number of at least 0, got -1.0"),
    ({"heuristics": "R"}, "heuristics must be True, False"),
    ({"method": "bs32", "regulariser": "sr_mean"}, "bs32.*no stage-based stiffness"),
])  # fmt: skip
def test_what_the_first_solve_would_refuse_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        NeuralODE(Field(mlp()), **options)


def test_a_plain_function_and_a_controller_that_is_none_are_refused_at_once():
    from stepsmith.integrators.neural.module import NeuralODE as Plain

    with pytest.raises(ValueError, match="continuous adjoint cannot see which tensors"):
        NeuralODE(lambda t, y: -y, adjoint="backsolve")
    with pytest.raises(ValueError, match="controller 'pi34' is a name"):
        Plain(Field(mlp()))
    with pytest.raises(TypeError, match="controller must be an object"):
        Plain(Field(mlp()), controller=3)


def test_estimates_have_gradient_only_where_the_regulariser_needs_it():
    er, sr = ss.neural.regulariser("er_mean"), ss.neural.regulariser("sr_sum")
    for reg, graph in (
        (None, ""),
        (er, "E"),
        (sr, "S"),
        (er + 0.1 * sr, "ES"),
        (ss.neural.regulariser("local_biased"), ""),
    ):
        ode = NeuralODE(Field(mlp()), rtol=1e-5, atol=1e-5, regulariser=reg)
        out = ode(state(), T)
        # what is handed out holds no graph; what the regulariser read did
        assert not out.solution.heuristics.E.requires_grad and not out.solution.heuristics.S.requires_grad
        ode.open_heuristics = True
        found = "".join(name for name in "ES" if getattr(ode(state(), T).solution.heuristics, name).requires_grad)
        assert found == graph and len(out.solution.heuristics.h) == out.solution.stats.naccept
    # asked for both, both are there, and the penalty is the same
    both = NeuralODE(Field(mlp()), rtol=1e-5, atol=1e-5, regulariser=sr, heuristics=True)(state(), T)
    one = NeuralODE(Field(mlp()), rtol=1e-5, atol=1e-5, regulariser=sr)(state(), T)
    assert both.solution.heuristics.E.requires_grad and torch.equal(both.penalty, one.penalty)


# -- strengths ---------------------------------------------------------------------------------------------------------


def test_total_is_the_loss_with_the_penalty_by_the_modules_strength():
    func, y0 = Field(mlp()), state()
    ode = NeuralODE(func, rtol=1e-5, atol=1e-5, regulariser="er_mean", strength=ss.neural.strength.ratio(0.3))
    out = ode(y0, T)
    loss = (out.y[-1] ** 2).mean()
    params = list(func.parameters())
    task, both = (torch.autograd.grad(v, params, retain_graph=True) for v in (loss, out.total(loss)))
    added = [b - a for a, b in zip(task, both, strict=True)]
    size, more = (math.sqrt(sum(float((x**2).sum()) for x in g)) for g in (task, added))
    assert more / size == pytest.approx(0.3, rel=1e-10) and ode.strength.iteration == 1
    ode.eval()
    out = ode(y0, T)
    assert out.total(loss) is loss and ode.strength.iteration == 1


def test_results_show_large_arrays_by_their_shape():
    out = NeuralODE(Field(mlp()), regulariser="er_mean")(state(), T)
    text = repr(out)
    assert f"y=<float64 of shape {tuple(out.y.shape)}>" in text and "reached" in text and len(text) < 2500
    assert f"nfev={out.solution.stats.nfev}" in repr(out.solution.stats) and "_gradient_calls" not in text
    many = ss.neural.odeint(lambda t, y: -y, torch.ones(400, 2), [0.0, 1.0])
    assert "nfev_per_sample=<int64 of shape (400,)>" in repr(many.stats) and len(repr(many)) < 2500
    tuples = ss.neural.odeint(lambda t, y: {"a": -y["a"]}, {"a": torch.ones(40)}, [0.0, 1.0])
    assert "y={'a': <float32 of shape (2, 40)>}" in repr(tuples)
    assert brief(torch.zeros(2, device="meta")) == "<float32 of shape (2,)>"
    within = []
    torch.func.vmap(lambda y: within.append(brief(y)) or y)(torch.zeros(3, 2))
    assert within == ["<float32 of shape (2,)>"]


def test_help_says_what_the_arguments_are():
    for thing, word in ((NeuralODE, "on_failure"), (ss.neural.odeint, "checkpoint_every"), (ss.neural.sdeint, "seed")):
        assert f"\n    {word}" in f"\n{inspect.getdoc(thing)}".replace(f", {word}", f"\n    {word}")


def test_a_number_is_a_constant_strength_and_none_has_no_total():
    ode = NeuralODE(Field(mlp()), rtol=1e-5, atol=1e-5, regulariser="er_mean", strength=2.0)
    out = ode(state(), T)
    loss = out.y[-1].sum()
    assert torch.equal(out.total(loss), loss + 2.0 * out.penalty) and "constant" in repr(ode)
    assert copy.deepcopy(ode).strength.iteration == 1
    plain = NeuralODE(Field(mlp()), regulariser="er_mean")
    with pytest.raises(ValueError, match="needs a strength"):
        plain(state(), T).total(loss)
    alone = torch.tensor(3.0, dtype=F64)
    assert NeuralODE(Field(mlp()))(state(), T).total(alone) is alone
    with pytest.raises(ValueError, match="there is none: pass regulariser too"):
        NeuralODE(Field(mlp()), strength=1.0)
    with pytest.raises(ValueError, match="unknown strength 'much'.*auto"):
        NeuralODE(Field(mlp()), regulariser="er_mean", strength="much")
