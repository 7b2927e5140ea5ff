"""Samplers with a fixed number of steps against exact solutions and published formulas."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.integrate
import torch

from stepsmith.flows import EDM, VE, VP, FlowMatching, Model, edm_sigmas, fixed, mixture, on_grid, sample, times

PROCESSES = [FlowMatching(), VP(), VE(), EDM()]
METHODS = tuple(fixed.RULES)
MEANS, SCALES, WEIGHTS = [[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.8, 0.5], [0.5, 0.2, 0.3]


def noise(n=6, seed=1):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("grid", ["uniform", "cosine", "edm", "log_snr", "random"])
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_ddim_is_euler_in_the_time_of_flow_matching(process, grid):
    model = mixture(MEANS, SCALES, WEIGHTS, process)
    chosen = times("uniform" if grid == "random" else grid, 9, model, denoise=False)
    if grid == "random":
        inside = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).sort().values
        chosen = torch.cat([chosen[:1], chosen[0] + inside * (chosen[-1] - chosen[0]), chosen[-1:]])
    flow = FlowMatching()
    there = flow.time(process.log_snr(chosen))
    z = noise()
    one = sample(model, z, "ddim", grid=chosen, denoise=False)
    changed = model.as_process(flow)
    # the noise is scaled by s at the first time, which is not 1 where flow matching begins later than at 0
    ratio = process.s(chosen[0]) / flow.s(there[0])
    two = sample(changed, z, "euler", grid=there, denoise=False)
    end = torch.hypot(process.a(chosen[-1]), process.s(chosen[-1])) / torch.hypot(flow.a(there[-1]), flow.s(there[-1]))
    start = torch.hypot(process.a(chosen[0]), process.s(chosen[0])) / torch.hypot(flow.a(there[0]), flow.s(there[0]))
    torch.testing.assert_close(ratio, start, rtol=1e-11, atol=0.0)
    torch.testing.assert_close(one.y, end * two.y, rtol=1e-9, atol=1e-10)
    assert one.nfe == two.nfe == len(chosen) - 1


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0])
def test_euler_on_gaussian_data_loses_the_cosines_of_its_angles(c):
    """For data N(0, c^2) a step of Euler in sigma = c tan(theta) multiplies by the exact factor times cos(d theta)."""
    angles = torch.tensor([1.5, 1.2, 1.15, 0.7, 0.3, 0.0], dtype=torch.float64)
    sigma = c * torch.tan(angles)
    model = mixture([[0.0, 0.0]], [c], None, EDM())
    z = noise()
    out = sample(model, z, "euler", grid=sigma, trajectory=True)
    lost = torch.cumprod(torch.cos(torch.diff(angles)), 0)
    exact = sigma[0] * torch.sqrt(sigma[1:] ** 2 + c**2) / math.sqrt(float(sigma[0]) ** 2 + c**2)
    torch.testing.assert_close(out.trajectory[1:], (exact * lost)[:, None, None] * z, rtol=1e-12, atol=1e-12)
    even = sample(model, z, "euler", grid=c * torch.tan(torch.linspace(1.5, 0.0, 6, dtype=torch.float64)))
    assert (even.y.norm() > out.y.norm()) and out.success


def test_the_cosine_grid_has_equal_angles():
    for process in PROCESSES:
        sigma = process.sigma(times("cosine", 8, process, denoise=False, scale=0.7))
        steps = torch.diff(torch.atan(sigma / 0.7))
        torch.testing.assert_close(steps, steps.mean().expand(8), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_gaussian_data_have_an_exact_flow(process):
    """x_t = a m + sqrt(a^2 c^2 + s^2) times what x began with: every method goes there."""
    m, c = torch.tensor([0.4, -1.0], dtype=torch.float64), 0.6
    model = mixture(m[None], [c], None, process)
    start = float(times("uniform", 4, model)[0])
    z = noise()
    a, s = process.a(start), process.s(start)
    unit = (s * z - a * m) / torch.sqrt(a**2 * c**2 + s**2)
    for method in METHODS:
        grid = "log_snr" if process.name in ("ve", "edm") else "uniform"
        out = sample(model, z, method, 1000, grid, denoise=False)
        end = out.t[-1]
        exact = process.a(end) * m + torch.sqrt(process.a(end) ** 2 * c**2 + process.s(end) ** 2) * unit
        bound = 2e-2 if method in ("euler", "ddim") else 5e-4
        torch.testing.assert_close(out.y, exact, rtol=0.0, atol=bound)


def reference(model, z, ends):
    def slope(t, y):
        return model.velocity(torch.tensor(y).reshape(z.shape), t).numpy().ravel()

    start = (float(model.process.s(ends[0])) * z).numpy().ravel()
    found = scipy.integrate.solve_ivp(slope, ends, start, method="DOP853", rtol=1e-12, atol=1e-12)
    return torch.tensor(found.y[:, -1]).reshape(z.shape)


@pytest.mark.parametrize(
    ("method", "order"),
    [("euler", 1), ("ddim", 1), ("heun", 2), ("midpoint", 2), ("ab2", 2), ("ab3", 2), ("ab4", 2), ("dpmpp_2m", 2)],
)
def test_order_of_convergence(method, order):
    """On the inside of VP's range.  The first step of a multistep method, Euler's, holds it at order two."""
    model = mixture(MEANS, [0.6, 0.8, 0.7], WEIGHTS, VP())
    z, ends = noise(3), (0.8, 0.2)
    exact = reference(model, z, ends)
    errors = []
    for n in (60, 120):
        out = sample(model, z, method, grid=np.linspace(*ends, n + 1), denoise=False)
        errors.append(float((out.y - exact).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(
    ("order", "classical"), [(1, [1]), (2, ["3/2", "-1/2"]), (3, ["23/12", "-16/12", "5/12"]),
                             (4, ["55/24", "-59/24", "37/24", "-9/24"])],
)  # fmt: skip
def test_classical_coefficients_of_adams_and_bashforth(order, classical):
    nodes = [Fraction(-j) for j in range(order)][::-1]
    found = fixed.adams_bashforth(nodes, Fraction(0), Fraction(1))
    assert [Fraction(w) for w in found] == [Fraction(c) for c in classical][::-1]


def test_adams_and_bashforth_on_any_grid_integrate_polynomials():
    nodes = [Fraction(1, 7), Fraction(2, 5), Fraction(3, 7), Fraction(9, 10)]
    end = Fraction(13, 11)
    found = fixed.adams_bashforth(nodes, nodes[-1], end)
    for k in range(4):
        exact = (end ** (k + 1) - nodes[-1] ** (k + 1)) / (k + 1)
        assert sum(w * node**k for w, node in zip(found, nodes, strict=True)) == exact


def test_edm_grid():
    """Karras et al., equation 5, in 30 digits; and as times of EDM, a zero comes after it, Tweedie's step."""
    with mpmath.workdps(30):
        most, least = mpmath.mpf(80) ** (mpmath.mpf(1) / 7), mpmath.mpf("0.002") ** (mpmath.mpf(1) / 7)
        exact = [float((most + mpmath.mpf(i) / 17 * (least - most)) ** 7) for i in range(18)]
    np.testing.assert_allclose(edm_sigmas(18).numpy(), exact, rtol=1e-13)
    np.testing.assert_allclose(times("edm", 18, EDM()).numpy(), exact, rtol=1e-13)
    flow = times("edm", 18, FlowMatching())
    assert flow[0] == 0.0 and flow[-1] == 1.0 and len(flow) == 19
    np.testing.assert_allclose(flow[1:-1].numpy(), [1.0 / (1.0 + v) for v in exact[1:]], rtol=1e-12)


def test_heun_is_karras_algorithm():
    """Algorithm 1 of Karras et al. with 18 steps and sigma = t, written from the paper: 35 evaluations."""
    model = mixture(MEANS, SCALES, WEIGHTS, EDM())
    z = noise()
    sigma = [*edm_sigmas(18).tolist(), 0.0]
    x = sigma[0] * z
    for now, after in zip(sigma[:-1], sigma[1:], strict=True):
        d = (x - model.denoised(x, now)) / now
        ahead = x + (after - now) * d
        if after > 0.0:
            ahead = x + (after - now) * 0.5 * (d + (ahead - model.denoised(ahead, after)) / after)
        x = ahead
    out = sample(model, z, "heun", 18, "edm")
    torch.testing.assert_close(out.y, x, rtol=1e-9, atol=1e-10)
    assert out.nfe == 35 and out.denoised
    # with the clean time as the grid's own end, the network that predicts denoised data has no velocity there
    denoiser = Model(model.denoised, EDM(), "denoised")
    with_zero = sample(denoiser, z, "heun", grid=sigma)
    torch.testing.assert_close(with_zero.y, x, rtol=1e-9, atol=1e-10)
    assert with_zero.nfe == 35 and not with_zero.denoised


def test_dpmpp_2m_is_algorithm_2():
    """DPM-Solver++(2M): y = D + (D - D_prev)/(2 r), x = (s/s_prev) x - a (exp(-h) - 1) y, in steps h of log-SNR."""
    model = mixture(MEANS, SCALES, WEIGHTS, VP())
    grid = np.array([1.0, 0.83, 0.7, 0.5, 0.2, 0.1, 0.02])
    process, z = VP(), noise()
    a, s = process.a(grid).numpy(), process.s(grid).numpy()
    lam = np.log(a / s)
    x, before = s[0] * z, None
    for i in range(len(grid) - 1):
        h = lam[i + 1] - lam[i]
        d = model.denoised(x, grid[i])
        y = d
        if before is not None:
            r = (lam[i] - lam[i - 1]) / h
            y = (1 + 1 / (2 * r)) * d - 1 / (2 * r) * before
        x = s[i + 1] / s[i] * x - a[i + 1] * (math.exp(-h) - 1) * y
        before = d
    torch.testing.assert_close(sample(model, z, "dpmpp_2m", grid=grid, denoise=False).y, x, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_all_processes_and_both_types(method):
    """Every method, in few steps, in both precisions; evaluations are counted, the final estimate among them."""
    for process in PROCESSES:
        model = mixture(MEANS, SCALES, WEIGHTS, process)
        for grid in ("uniform", "cosine", "edm", "log_snr"):
            out = sample(model, noise().float(), method, 6, grid, trajectory=True)
            both = sample(model, noise().float().double(), method, 6, grid)
            assert out.success and out.y.dtype == torch.float32 and torch.isfinite(out.y).all()
            torch.testing.assert_close(out.y.double(), both.y, rtol=5e-3, atol=5e-3)
            twice = fixed.EVALUATIONS[method] == 2
            assert out.nfe == (12 - out.denoised if twice else 6) and out.denoised is not process.ends_clean
            assert len(out.trajectory) == len(out.t) == 7 - out.denoised
            assert out.denoised or torch.equal(out.trajectory[-1], out.y)


def test_images_are_as_good_as_vectors():
    target = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 2, 2)
    model = Model(lambda x, t: target.expand_as(x), EDM(), "denoised")
    out = sample(model, torch.randn(5, 3, 2, 2, dtype=torch.float64), "ddim", 4, "edm")
    torch.testing.assert_close(out.y, target.expand(5, 3, 2, 2))


@pytest.mark.parametrize("method", METHODS)
def test_a_score_that_is_not_finite_fails_its_sample_alone(method):
    model = mixture(MEANS, SCALES, WEIGHTS)

    def net(x, t):
        out = model.velocity(x, t)
        return torch.where((t[:, None] > 0.5) & (torch.arange(len(x))[:, None] == 2), torch.inf, out)

    out = sample(Model(net, FlowMatching()), noise(), method, 8)
    assert not out.success and out.failed.tolist() == [i == 2 for i in range(6)]
    assert "1 of 6 samples are not finite" in out.message and "t = 0." in out.message
    kept = ~out.failed
    torch.testing.assert_close(out.y[kept], sample(model, noise(), method, 8).y[kept])
    assert torch.isnan(out.y[2]).all()


def test_bad_input():
    model = mixture(MEANS, SCALES, WEIGHTS)
    z = noise()
    with pytest.raises(ValueError, match="x must be noise"):
        sample(model, torch.zeros(3))
    with pytest.raises(ValueError, match="x must be noise"):
        sample(model, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="finite noise"):
        sample(model, torch.full((3, 2), math.nan))
    with pytest.raises(ValueError, match="did you mean 'heun'"):
        sample(model, z, "heum")
    with pytest.raises(ValueError, match="model must be a flows.Model"):
        sample(lambda x, t: x, z)
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        sample(model, z, grid="cosines")
    with pytest.raises(ValueError, match="steps must be a whole number"):
        sample(model, z, steps=0)
    with pytest.raises(ValueError, match="grid must be from 0 to 1"):
        sample(model, z, grid=[0.0, 0.5, 1.2])
    with pytest.raises(ValueError, match="grid must rise strictly"):
        sample(model, z, grid=[1.0, 0.5, 0.0])
    with pytest.raises(ValueError, match="grid must fall strictly"):
        sample(mixture(MEANS, SCALES, WEIGHTS, EDM()), z, grid=[80.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="at least two times"):
        sample(model, z, grid=[0.0])
    with pytest.raises(ValueError, match="steps must be left out, or 2"):
        sample(model, z, steps=3, grid=[0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match="rtol means nothing to 'ab2'"):
        sample(model, z, rtol=1e-3)
    with pytest.raises(ValueError, match="schedule must be a flows.Schedule"):
        sample(model, z, schedule=3)
    for method in ("ab2", "ddim", "ancestral"):
        with pytest.raises(ValueError, match="grid must begin after t = 0, where a network that predicts noise"):
            sample(Model(model.noise, FlowMatching(), "noise"), z, method)
    assert sample(Model(model.noise, FlowMatching(), "noise"), z, grid=[0.01, 0.5, 1.0]).success
    with pytest.raises(ValueError, match="grid must rise strictly"):
        on_grid(model, z, [0.0, 0.5, 0.5], "ab2")
    with pytest.raises(ValueError, match="unknown method 'ab5'"):
        on_grid(model, z, [0.0, 0.5, 1.0], "ab5")
    assert torch.equal(on_grid(model, z, [0.0, 0.5, 1.0], "ab2").y, sample(model, z, grid=[0.0, 0.5, 1.0]).y)
    with pytest.raises(ValueError, match="net must return a tensor of x's shape"):
        sample(Model(lambda x, t: x[:1], FlowMatching()), z)
