"""Mixed precision around a solve: func runs under the caller's autocast, the solver in the state's dtype."""

import warnings

import pytest
import torch

import stepsmith as ss
from stepsmith.neural import torchdiffeq as face

odeint = ss.neural.odeint
T = torch.tensor([0.0, 0.5, 1.0])
LOOSE = {"rtol": 2e-3, "atol": 2e-3}


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 8))
        self.seen = []

    def forward(self, t, y):
        slope = self.net(y)
        self.seen.append((t.dtype, y.dtype, slope.dtype))
        return slope


def by_hand(func):
    """The same without autocast around the solve: func alone, and its slope in float32."""

    class Alone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.func = func

        def forward(self, t, y):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.func(t, y).float()

    return Alone()


ROUTES = [
    {}, {"per_sample": False}, {"checkpoint_every": 2}, {"adjoint": "backsolve"}, {"adjoint": "interpolating"},
    {"method": "rk4", "step_size": 0.1}, {"method": "rk4", "step_size": 0.1, "adjoint": "backsolve"},
]  # fmt: skip


@pytest.mark.parametrize("options", ROUTES)
def test_only_func_runs_in_half_precision_backwards_too(options):
    options = {**({} if "method" in options else LOOSE), **options}
    func, y0 = Field(), torch.randn(16, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sol = odeint(func, y0, T, **options)
    inputs = [y0, *func.parameters()]
    found = torch.autograd.grad(sol.y.square().mean(), inputs)
    assert sol.success and sol.y.dtype == torch.float32 and set(func.seen) == {
        (torch.float32, torch.float32, torch.bfloat16)
    }
    plain = odeint(by_hand(func), y0, T, **options)
    torch.testing.assert_close(sol.y, plain.y, rtol=0, atol=0)
    torch.testing.assert_close(found, torch.autograd.grad(plain.y.square().mean(), inputs), rtol=1e-5, atol=1e-7)
    assert not torch.equal(sol.y, odeint(func, y0, T, **options).y)


def test_a_module_a_tree_and_one_step_size_under_autocast():
    func, y0 = Field(), torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = ss.neural.NeuralODE(func, regulariser="er_mean", **LOOSE)(y0, T)
        pair = odeint(lambda t, s: (func(t, s[0]), -s[1]), (y0, torch.ones(3)), T, **LOOSE)
    out.penalty.backward()
    assert out.penalty > 0 and func.net[0].weight.grad.abs().max() > 0
    assert pair.y[0].dtype == torch.float32 and torch.allclose(pair.y[1][-1], torch.full((3,), 0.3679), atol=1e-2)


def test_tolerances_below_half_precision_warn_under_autocast_alone():
    func, y0 = Field(), torch.randn(4, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odeint(func, y0, T, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            odeint(func, y0, T, **LOOSE)
    with pytest.warns(UserWarning, match="func runs in torch.bfloat16.*rtol = 0.0001"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            odeint(func, y0, T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.complex64])
def test_states_of_other_dtypes_have_one_clear_error(kind):
    y0 = torch.ones(2, 2).to(kind)
    said = "view_as_real" if kind == torch.complex64 else "float32 or float64"
    for solve in (odeint, face.odeint):
        with pytest.raises(ValueError, match=said):
            solve(lambda t, y: -y, y0, T)
    with pytest.raises(ValueError, match=said):
        ss.neural.NeuralODE(lambda t, y: -y)(y0, T)
    with pytest.raises(ValueError, match=f"got .*{kind}"):
        odeint(lambda t, y: (-y).to(kind), torch.ones(2, 2), T)
