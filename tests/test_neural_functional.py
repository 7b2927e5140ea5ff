"""torch.func around a solve: `functional_call` with other parameters, and transforms."""

import pytest
import torch
from torch.func import functional_call, grad, jacrev, jvp, vmap

import stepsmith as ss
import stepsmith.neural.torchdiffeq as face
from module_fields import Field, Pair, close, pair, seeded
from torch_fields import F64, state

NeuralODE, odeint = ss.neural.NeuralODE, ss.neural.odeint
T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)
OPTIONS = {
    "plain": {},
    "per sample": {"per_sample": True},
    "checkpoints": {"checkpoint_every": 2},
    "budget": {"checkpoint": "auto", "checkpoint_mb": 0.01},
    "backsolve": {"adjoint": "backsolve"},
    "interpolating": {"adjoint": "interpolating", "per_sample": True},
    "grid": {"method": "rk4", "step_size": 0.2},
    "grid, backsolve": {"method": "rk4", "step_size": 0.2, "adjoint": "backsolve"},
    "penalty": {"regulariser": "er_mean"},
    "penalty, checkpoints": {"regulariser": "kinetic", "checkpoint_every": 2},
}


def others(module, leaves):
    """Parameters that are not the module's: leaves, or computed from one, as a hypernetwork does."""
    factor = torch.tensor(0.7, dtype=F64, requires_grad=True)
    found = {name: p.detach() * 0.7 for name, p in module.named_parameters()}
    if leaves:
        return {name: p.requires_grad_() for name, p in found.items()}, None
    return {name: p.detach() * factor for name, p in module.named_parameters()}, factor


def loss_of(out):
    return out.y[-1].square().sum() + 3.0 * out.penalty


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_gradient_is_that_in_the_parameters_that_were_given(name, leaves):
    """The same as of a module that has these parameters; the module's own get none."""
    ode = NeuralODE(Field(), **OPTIONS[name])
    given, factor = others(ode, leaves)
    loss = loss_of(functional_call(ode, given, (state(), T)))
    wanted = list(given.values()) if leaves else [factor]
    found = torch.autograd.grad(loss, wanted)
    assert all(p.grad is None for p in ode.parameters())
    twin = NeuralODE(Field(), **OPTIONS[name])
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    expected_loss = loss_of(twin(state(), T))
    grads = torch.autograd.grad(expected_loss, list(twin.parameters()))
    if not leaves:
        own = dict(ode.named_parameters())
        grads = [sum((g * own[key].detach()).sum() for key, g in zip(given, grads, strict=True))]
    close(loss, expected_loss, 1e-12)
    close(found, tuple(grads), 1e-9)


class Outer(torch.nn.Module):
    """A model that solves with a plain function, as a user's does."""

    def __init__(self, options):
        super().__init__()
        self.field, self.options = Field(), options

    def forward(self, y0, t):
        params = {"adjoint_params": self.field.parameters()} if "adjoint" in self.options else {}
        return odeint(lambda t, y: self.field(t, y), y0, t, per_sample=False, **self.options, **params)


def test_adjoint_params_of_the_module_are_those_that_were_given():
    field = Decay()
    ode = NeuralODE(field, adjoint="backsolve", adjoint_params=field.parameters())
    y0, rate = torch.ones(1, 1, dtype=F64), torch.tensor(0.5, dtype=F64, requires_grad=True)
    found = torch.autograd.grad(functional_call(ode, {"func.rate": rate}, (y0, T)).y[-1].sum(), rate)[0]
    exact = -torch.sin(T[-1]) * torch.exp(-0.5 * torch.sin(T[-1]))
    close(found, exact, 1e-5)
    close(grad(lambda r: functional_call(ode, {"func.rate": r}, (y0, T)).y[-1].sum())(rate.detach()), exact, 1e-5)
    # what is no parameter of the module stays what it is
    w = torch.tensor(0.5, dtype=F64, requires_grad=True)
    plain = NeuralODE(lambda t, y: -w * torch.cos(t) * y, adjoint="backsolve", adjoint_params=[w])
    close(torch.autograd.grad(plain(y0, T).y[-1].sum(), w)[0], exact, 1e-5)


@pytest.mark.parametrize("options", [{"checkpoint_every": 2}, {"adjoint": "backsolve"}, {}])
def test_modules_that_func_closes_over_are_found(options):
    outer, twin = Outer(options), Outer(options)
    given, _ = others(outer, True)
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    found = torch.autograd.grad(functional_call(outer, given, (state(), T)).y.square().sum(), list(given.values()))
    close(found, torch.autograd.grad(twin(state(), T).y.square().sum(), list(twin.parameters())), 1e-9)


class Floor(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(2.0, dtype=F64))

    def forward(self, t, y):
        return y[:, 0] - self.level * torch.exp(-self.level * t)


class Decay(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

    def forward(self, t, y):
        return -self.rate * torch.cos(t) * y


def test_events_and_times_have_the_derivatives_of_the_given_parameters():
    """Both call func and event_fn in the backward pass."""
    ode, twin = (NeuralODE(Decay(), event_fn=Floor(), per_sample=False) for _ in range(2))
    given, _ = others(ode, True)
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    found = []
    for solve, params in (
        (lambda t: functional_call(ode, given, (torch.ones(1, 1, dtype=F64), t)), list(given.values())),
        (lambda t: twin(torch.ones(1, 1, dtype=F64), t), list(twin.parameters())),
    ):
        t = torch.tensor([0.1, 0.2, 3.0], dtype=F64, requires_grad=True)
        out = solve(t)
        assert bool(out.solution.event_t.isfinite())
        found.append(torch.autograd.grad(out.solution.event_t + out.y[1].sum(), [t, *params]))
    close(*found, 1e-12)


def test_a_parameter_that_was_replaced_after_the_solve_does_not_count():
    ode = NeuralODE(Field(), adjoint="backsolve")
    first = dict(ode.named_parameters())
    expected = torch.autograd.grad(ode(state(), T).y.square().sum(), list(first.values()))
    y = ode(state(), T).y
    ode.func.net[0].weight = torch.nn.Parameter(torch.zeros_like(ode.func.net[0].weight))
    now = ode.func.net[0].weight
    close(torch.autograd.grad(y.square().sum(), list(first.values())), expected, 1e-12)
    assert ode.func.net[0].weight is now


# -- transforms --------------------------------------------------------------------------------------------------------


def values(ode):
    return {name: p.detach() for name, p in ode.named_parameters()}


def in_params(ode, loss=loss_of):
    return lambda params: loss(functional_call(ode, params, (state(), T)))


@pytest.mark.parametrize("name", OPTIONS)
def test_grad_is_the_gradient_of_autograd(name):
    ode = NeuralODE(Field(), **OPTIONS[name])
    found = grad(in_params(ode))(values(ode))
    loss = loss_of(ode(state(), T))
    close(tuple(found.values()), torch.autograd.grad(loss, list(ode.parameters())), 1e-12)
    assert all(p.grad is None for p in ode.parameters())


@pytest.mark.parametrize("given", [{}, {"per_sample": False, "adjoint": "interpolating"}, {"event_fn": Floor()}])
def test_odeint_has_grad_and_jacrev_in_states_and_times(given):
    func, y0, t = Decay(), torch.ones(2, 1, dtype=F64), torch.tensor([0.1, 0.2, 3.0], dtype=F64)
    own = (y0.clone().requires_grad_(), t.clone().requires_grad_())

    def outs(y0, t):
        sol = odeint(func, y0, t, **given)
        return torch.cat([sol.y[1].reshape(-1), sol.event_t if "event_fn" in given else sol.y[2].reshape(-1)])

    plain = outs(*own)
    rows = [torch.autograd.grad(x, own, retain_graph=True) for x in plain]
    found = jacrev(outs, (0, 1))(y0, t)
    close(found, tuple(torch.stack(column) for column in zip(*rows, strict=True)), 1e-12)
    close(grad(lambda y: outs(y, t).sum())(y0), torch.autograd.grad(plain.sum(), own[0])[0], 1e-12)


def test_trees_heuristics_and_penalties_keep_their_form():
    ode = NeuralODE(Pair(), regulariser="er_sum", heuristics="E", per_sample=True)
    seen, y0 = [], {key: part.detach() for key, part in pair().items()}

    def loss(params):
        out = functional_call(ode, params, (y0, T))
        seen.append(out)
        return out.y["x"].sum() + out.penalty + out.solution.heuristics.E.sum() + out.solution.y["p"].sum()

    found = grad(loss)(values(ode))
    out = ode(pair(), T)
    expected = out.y["x"].sum() + out.penalty + out.solution.heuristics.E.sum() + out.solution.y["p"].sum()
    close(tuple(found.values()), torch.autograd.grad(expected, list(ode.parameters())), 1e-10)
    assert set(seen[0].y) == {"x", "p"} and seen[0].solution.stats.naccept == out.solution.stats.naccept


@pytest.mark.parametrize("name", ["plain", "per sample", "checkpoints", "grid"])
def test_second_derivatives_and_maml(name):
    """grad of grad, and an inner step by torch.func.grad whose parameters autograd differentiates."""
    ode = NeuralODE(Field(), **OPTIONS[name])
    names, own = list(values(ode)), list(ode.parameters())
    inner = in_params(ode)
    plain = torch.autograd.grad(inner(dict(zip(names, own, strict=True))), own, create_graph=True)
    expected = torch.autograd.grad(sum(g.square().sum() for g in plain), own, retain_graph=True)
    found = grad(lambda params: sum(g.square().sum() for g in grad(inner)(params).values()))(values(ode))
    close(tuple(found.values()), expected, 1e-9)

    fast = {key: p - 0.1 * g for key, p, g in zip(names, own, plain, strict=True)}
    expected = torch.autograd.grad(inner(fast), own)
    leaves = {key: p.detach().requires_grad_() for key, p in ode.named_parameters()}
    steps = grad(inner)(leaves)
    fast = {key: p - 0.1 * steps[key] for key, p in leaves.items()}
    close(torch.autograd.grad(inner(fast), list(leaves.values())), expected, 1e-9)


def test_third_derivatives_are_refused():
    ode = NeuralODE(Decay())
    loss = lambda r: functional_call(ode, {"func.rate": r}, (torch.ones(1, 1, dtype=F64), T)).y.sum()  # noqa: E731
    with pytest.raises(RuntimeError, match="first and second derivatives, no third"):
        grad(grad(grad(loss)))(torch.tensor(0.5, dtype=F64))


def test_a_solve_that_needs_no_gradient_goes_along():
    target, ode = NeuralODE(Decay(), adjoint="none"), NeuralODE(Decay())
    y0 = torch.ones(2, 1, dtype=F64)

    def loss(params):
        with torch.no_grad():
            wanted = ode(y0, T).y
        return (functional_call(ode, params, (y0, T)).y - wanted - target(y0, T).y).square().sum()

    found = grad(loss)(values(ode))["func.rate"]
    out = ode(y0, T).y
    expected = torch.autograd.grad((out - out.detach() - target(y0, T).y).square().sum(), ode.func.rate)[0]
    close(found, expected, 1e-12)


@pytest.mark.parametrize("solve", [
    lambda y: odeint(Decay(), y, T).y, lambda y: NeuralODE(Decay())(y, T).y, lambda y: odeint(Decay(), y, T, "rk4").y,
])  # fmt: skip
def test_what_hides_values_is_refused(solve):
    rows = torch.ones(3, 2, 1, dtype=F64)
    with pytest.raises(RuntimeError, match="vmap cannot transform a solve.*as the batch axis of y0"):
        vmap(solve)(rows)
    with pytest.raises(RuntimeError, match="vmap cannot transform a solve"):
        vmap(grad(lambda y: solve(y).sum()))(rows)
    with pytest.raises(RuntimeError, match="jvp cannot transform a solve.*use grad, vjp or jacrev"):
        jvp(solve, (rows[0],), (rows[0],))


def test_gradients_that_would_be_lost_are_refused():
    """What func closes over is not an input of the node that a solve is within a transform."""
    y0, w = torch.ones(2, 1, dtype=F64), torch.tensor(0.5, dtype=F64)
    net = Decay()
    with pytest.raises(RuntimeError, match="func uses another tensor.*torch.func.functional_call"):
        grad(lambda w: odeint(lambda t, y: -w * y, y0, T).y.sum())(w)
    with pytest.raises(RuntimeError, match="func uses another tensor"):
        grad(lambda w: odeint(lambda t, y: functional_call(net, {"rate": w}, (t, y)), y0, T).y.sum())(w)
    outside = w.clone().requires_grad_()
    for held in (outside, 2 * outside):
        with pytest.raises(RuntimeError, match="func uses another tensor.*detach"):
            grad(lambda y, held=held: odeint(lambda t, y: -held * y, y, T).y.sum())(y0)
    # detached, and in a module, all is well
    whole = torch.arange(2)
    assert torch.equal(grad(lambda y: odeint(net, y, torch.arange(2)).y.sum())(y0),
                       grad(lambda y: odeint(net, y, whole).y.sum())(y0))  # fmt: skip
    found = grad(lambda y: odeint(lambda t, y: -outside.detach() * y, y, T, per_sample=False).y[-1].sum())(y0)
    close(found, torch.full_like(y0, float(torch.exp(-0.5 * T[-1]))), 1e-5)
    inner = lambda t, y: grad(lambda x: (x**2).sum() * 0.5)(y)  # noqa: E731
    with pytest.raises(RuntimeError, match="uses torch.func itself"):
        grad(lambda y: odeint(inner, y, T).y.sum())(y0)


def test_leaves_that_a_regulariser_makes_are_no_tensors_from_outside():
    ode = NeuralODE(Field(), regulariser="frobenius")
    loss = lambda params: functional_call(ode, params, (state(), T, seeded())).penalty  # noqa: E731
    found = grad(loss)(values(ode))
    expected = torch.autograd.grad(ode(state(), T, seeded()).penalty, list(ode.parameters()), allow_unused=True)
    close(tuple(found.values()), tuple(torch.zeros_like(p) if g is None else g for g, p in
                                       zip(expected, ode.parameters(), strict=True)), 1e-12)  # fmt: skip


def test_a_warm_start_goes_on_under_grad():
    ode, twin = (NeuralODE(Field(), warm_start=True) for _ in range(2))
    for _ in range(2):
        grad(in_params(ode))(values(ode))
        twin(state(), T)
    assert torch.equal(ode.first_step_size, twin.first_step_size) and bool(ode.first_step_size > 0)


class ThroughTheFace(torch.nn.Module):
    """A model that solves by torchdiffeq's calls."""

    def __init__(self, solve, options):
        super().__init__()
        self.field, self.solve, self.options = Field(), solve, options

    def forward(self, y0, t):
        return self.solve(self.field, y0, t, rtol=1e-9, atol=1e-9, **self.options)


FACES = [
    (face.odeint, {}), (face.odeint_adjoint, {}),
    (face.odeint_adjoint, {"method": "rk4", "options": {"step_size": 0.01}}),
]  # fmt: skip


@pytest.mark.parametrize(("solve", "options"), FACES, ids=["odeint", "adjoint", "adjoint on a grid"])
def test_torchdiffeqs_calls_differentiate_in_the_parameters_that_were_given(solve, options):
    model = ThroughTheFace(solve, options)
    given, _ = others(model, leaves=True)
    found = torch.autograd.grad(functional_call(model, given, (state(), T)).square().sum(), list(given.values()))
    twin = ThroughTheFace(face.odeint, {})
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    close(found, torch.autograd.grad(twin(state(), T).square().sum(), list(twin.parameters())), 1e-6)
