"""One trial step against the same step as StochasticDiffEq.jl and torchsde write it by hand, and what is looked at
before the first one."""

from __future__ import annotations

import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.methods import sde
from stepsmith.integrators.neural.sde.attempt import Step, attempt
from stepsmith.integrators.neural.sde.estimates import Scale

T0, H = 0.3, 0.17


def f(t, y):
    return torch.sin((1.0 + t[:, None]) * y) - 0.2 * y**2


def g(t, y):
    return 0.4 * torch.cos(y) * (1.0 + t[:, None])


def case():
    draw = torch.Generator().manual_seed(3)
    y, w, levy = torch.randn(3, 6, 2, dtype=torch.float64, generator=draw)
    w, levy = w * H**0.5, levy * (H / 12) ** 0.5
    one = torch.ones(6, dtype=torch.float64)
    return y, w, levy, Step(T0 * one, H * one, w, levy)


def at(node):
    return (T0 + node * H) * torch.ones(6, dtype=torch.float64)


def test_sriw1_is_the_published_step():
    """perform_step/sri.jl, SRIW1: dZ = 2 sqrt(3) H."""
    y, w, levy, step = case()
    root, dz = H**0.5, 2.0 * 3.0**0.5 * levy
    chi1, chi2, chi3 = (w**2 - H) / (2 * root), (w + dz / 3.0**0.5) / 2, (w**3 - 3 * w * H) / (6 * H)
    fh, g1 = H * f(at(0.0), y), g(at(0.0), y)
    h0 = y + 3 * (fh / 4 + chi2 * g1 / 2)
    h11, h12 = y + fh / 4 + root * g1 / 2, y + fh - root * g1
    g2, g3 = g(at(0.25), h11), g(at(1.0), h12)
    g4 = g(at(0.25), y + fh / 4 + root * (-5 * g1 + 3 * g2 + g3 / 2))
    fh2 = H * f(at(0.75), h0)
    e2 = chi2 * (2 * g1 - 4 * g2 / 3 - 2 * g3 / 3) + chi3 * (-2 * g1 + 5 * g2 / 3 - 2 * g3 / 3 + g4)
    y1 = y + (fh + 2 * fh2) / 3 + w * (-g1 + 4 * g2 / 3 + 2 * g3 / 3) + chi1 * (-g1 + 4 * g2 / 3 - g3 / 3) + e2
    trial = attempt(sde.get("sriw1"), f, g, step, y)
    torch.testing.assert_close(trial.y1, y1, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(trial.error, (fh + fh2) / 6 + e2, rtol=1e-13, atol=1e-13)
    # calculate_residuals.jl and the rms over a sample
    ratio = trial.error / (0.02 + 0.1 * torch.maximum(y.abs(), y1.abs()))
    found = Scale(sde.get("sriw1"), 0.1, 0.02, False).error(trial, y, y)
    torch.testing.assert_close(found, ratio.square().mean(1).sqrt())
    whole = Scale(sde.get("sriw1"), 0.1, 0.02, True).error(trial, y, y)
    torch.testing.assert_close(whole, ratio.square().mean().sqrt()[None])


def test_sra1_is_the_published_step():
    """perform_step/sra.jl, SRA1, of additive noise."""
    y, w, levy, step = case()

    def ramp(t, y):
        return 0.4 * (1.0 + t[:, None]) + torch.zeros_like(y)

    chi2, after = (w + 2.0 * levy) / 2, ramp(at(1.0), y)
    k1 = H * f(at(0.0), y)
    k2 = H * f(at(0.75), y + 3 * k1 / 4 + 3 * chi2 * after / 2)
    e2 = chi2 * (ramp(at(0.0), y) - after)
    trial = attempt(sde.get("sra1"), f, ramp, step, y)
    torch.testing.assert_close(trial.y1, y + k1 / 3 + 2 * k2 / 3 + e2 + w * after)
    torch.testing.assert_close(trial.error, k1 + k2 + e2)


def test_sosris_stiffness_is_that_of_its_last_stages():
    """Of a linear drift the estimate is the rate, over 10.6: ||k4 - k3|| = rate ||H04 - H03||."""
    y, _, _, step = case()
    trial = attempt(sde.get("sosri"), lambda t, y: -7.0 * y, g, step, y)
    found = Scale(sde.get("sosri"), 0.1, 0.1, False).stiffness(trial)
    torch.testing.assert_close(found, torch.full_like(found, 7.0 / 10.6))


@pytest.mark.parametrize(
    ("name", "method", "kind", "tol"),
    [
        ("euler_maruyama", "euler", "ito", 1e-12),
        ("euler_heun", "euler_heun", "stratonovich", 1e-12),
        ("stochastic_heun", "heun", "stratonovich", 1e-12),
    ],
)
def test_steps_are_torchsdes(name, method, kind, tol):
    torchsde = pytest.importorskip("torchsde")
    y, w, _, step = case()

    class Field(torch.nn.Module):
        noise_type, sde_type = "diagonal", kind

        def f(self, t, y):
            return f(t * torch.ones(6, dtype=torch.float64), y)

        def g(self, t, y):
            return g(t * torch.ones(6, dtype=torch.float64), y)

    class Path:
        """The one increment of the step."""

        shape, dtype, device, levy_area_approximation = w.shape, w.dtype, w.device, "none"

        def __call__(self, ta, tb=None, **_):
            return w

    times = torch.tensor([T0, T0 + H], dtype=torch.float64)
    theirs = torchsde.sdeint(Field(), y, times, bm=Path(), method=method, dt=2 * H)[-1]
    torch.testing.assert_close(attempt(sde.get(name), f, g, step, y).y1, theirs, rtol=tol, atol=tol)


@pytest.mark.parametrize(
    ("method", "noise", "diffusion", "start"),
    [
        ("sra1", "additive", lambda t, y: y * y, -2.0),
        ("sra1", "additive", lambda t, y: t.reshape(-1, 1) * y, 1.0),
        ("milstein_stratonovich", "diagonal", lambda t, y: y.flip(-1), 1.0),
        ("milstein_stratonovich", "diagonal", lambda t, y: t.reshape(-1, 1) * y.flip(-1), 1.0),
    ],
)
@pytest.mark.parametrize("step", [None, 0.1])
def test_diffusions_are_looked_at_at_a_second_time_and_state(method, noise, diffusion, start, step):
    """The first has no dependence on a state that 1.25 y + 0.5 moves, the flipped ones mix every second component."""
    y0 = torch.full((2, 3), start, dtype=torch.float64)
    with pytest.raises(ValueError, match="depends on"):
        ss.neural.sdeint(lambda t, y: -y, diffusion, y0, [0.0, 1.0], method=method, noise=noise, step_size=step)
