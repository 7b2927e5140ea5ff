"""The modules that a func reaches through collections and objects have the parameters of the solve in its backward
pass."""

import functools
import time
import weakref

import pytest
import torch
from torch.func import functional_call

import stepsmith as ss
from module_fields import close
from stepsmith.integrators.neural import looked_at
from torch_fields import F64, state

odeint = ss.neural.odeint
T = torch.tensor([0.0, 1.0], dtype=F64)


class Thing:
    pass


class Slotted:
    __slots__ = ("net",)


class Call:
    def __init__(self, nets):
        self.nets = nets

    def __call__(self, t, y):
        return torch.tanh(self.nets["a"][0](y))


class Closing(torch.nn.Module):
    """A module that keeps another where torch does not look for it."""

    def __init__(self, net):
        super().__init__()
        self.others = [net]

    def forward(self, t, y):
        return torch.tanh(self.others[0](y))


def two_deep(net):
    a, a.b = Thing(), Thing()
    a.b.net = net
    return lambda t, y: torch.tanh(a.b.net(y))


def in_slots(net):
    a = Slotted()
    a.net = net
    return lambda t, y: torch.tanh(a.net(y))


def in_forward(net):
    class Field(torch.nn.Module):
        def forward(self, t, y):
            return torch.tanh(net(y))

    return Field()


#: by name: what makes a func of a net
FUNCS = {
    "list": lambda net: (lambda nets: lambda t, y: torch.tanh(nets[0](y)))([net]),
    "dict": lambda net: (lambda nets: lambda t, y: torch.tanh(nets["a"](y)))({"a": net}),
    "set": lambda net: (lambda nets: lambda t, y: torch.tanh(next(iter(nets))(y)))({net}),
    "nested": lambda net: (lambda nets: lambda t, y: torch.tanh(nets[0]["a"][0](y)))([{"a": (net,)}]),
    "default": lambda net: lambda t, y, nets={"a": net}: torch.tanh(nets["a"](y)),  # noqa: B006
    "partial": lambda net: functools.partial(lambda nets, t, y: torch.tanh(nets[0](y)), [net]),
    "object": two_deep,
    "slots": in_slots,
    "callable": lambda net: Call({"a": [net]}),
    "module": Closing,
    "forward": in_forward,
}
OPTIONS = {"checkpoints": {"checkpoint_every": 2}, "per sample, twice": {}, "times": {"per_sample": False}}


class Outer(torch.nn.Module):
    def __init__(self, make, options):
        super().__init__()
        self.net, self.make, self.options = torch.nn.Linear(3, 3, dtype=F64), [make], options

    def forward(self, y0, t):
        return odeint(self.make[0](self.net), y0, t, rtol=1e-5, atol=1e-5, **self.options).y.square().sum()


def gradients(model, given, t):
    """Those of a second backward pass, which takes steps per sample again."""
    t = t.clone().requires_grad_(model.options.get("per_sample") is False)
    params = list(model.parameters()) if given is None else list(given.values())
    loss = model(state(), t) if given is None else functional_call(model, given, (state(), t))
    wanted = [*params, t] if t.requires_grad else params
    torch.autograd.grad(loss, wanted, retain_graph=True)
    return torch.autograd.grad(loss, wanted)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", FUNCS)
def test_the_gradient_is_that_in_the_parameters_that_were_given(name, options):
    torch.manual_seed(3)
    model, twin = Outer(FUNCS[name], options), Outer(lambda net: lambda t, y: torch.tanh(net(y)), options)
    given = {key: (p.detach() + 0.5).requires_grad_() for key, p in model.named_parameters()}
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    close(gradients(model, given, T), gradients(twin, None, T), 1e-10)


def test_each_module_is_found_once_and_cycles_end():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    around: list = [net, {"a": net}]
    around.append(around)
    found = list(looked_at.modules(lambda t, y: around[0](y), net.forward))
    assert len(found) == 3 and {id(m) for m in found} == {id(m) for m in net.modules()}


def test_large_collections_do_not_hide_a_module_nor_take_long():
    numbers, objects, nets = [0.5] * 10**6, [[Thing()] for _ in range(10**5)], [torch.nn.Linear(2, 2)]
    func = lambda t, y: nets[0](y) * numbers[0] * len(objects)  # noqa: E731
    began = time.perf_counter()
    assert list(looked_at.modules(func)) == nets
    assert time.perf_counter() - began < 0.1


def out_of_reach(net):
    found = weakref.ref(net)
    return lambda t, y: torch.tanh(found()(y))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("options", [
    {"checkpoint_every": 2}, {"checkpoint_every": 2, "per_sample": False},
    {"checkpoint": "auto", "checkpoint_mb": 0.002},
], ids=str)  # fmt: skip
@pytest.mark.filterwarnings("ignore:checkpoint_mb = 0.002 is less")
def test_steps_that_are_taken_again_with_other_parameters_are_refused(options, again):
    model = Outer(out_of_reach, options)
    given = {key: (p.detach() + 0.5).requires_grad_() for key, p in model.named_parameters()}
    loss = functional_call(model, given, (state(), T))
    with pytest.raises(RuntimeError, match=r"other parameters in the backward pass, one of shape \(3, .*make func a"):
        torch.autograd.grad(loss, list(given.values()), create_graph=again)
    assert torch.autograd.grad(model(state(), T), list(model.parameters()), create_graph=again)


@pytest.mark.parametrize("again", [False, True])
def test_parameters_behind_the_start_are_none_of_func_s(again):
    """They are in the graph that the state comes with, or are that state."""
    net, encoder = torch.nn.Linear(3, 3, dtype=F64), torch.nn.Linear(3, 3, dtype=F64)
    first = torch.nn.Parameter(state())
    for y0, params in ((first, [first]), (encoder(state()), list(encoder.parameters()))):
        params = [*params, *net.parameters()]
        found = []
        for options in ({"checkpoint_every": 2}, {}):
            sol = odeint(lambda t, y: torch.tanh(net(y)), y0, T, rtol=1e-5, atol=1e-5, **options)
            loss = sol.y[-1].square().sum()
            found.append(torch.autograd.grad(loss, params, create_graph=again, retain_graph=True))
        close(*found, 1e-10)
