"""Processes and models: derivatives, inverses, exact changes of prediction and of process."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import stepsmith as ss
from stepsmith.flows import EDM, VE, VP, FlowMatching, Model, mixture

PROCESSES = [FlowMatching(), VP(), VE(), EDM()]
MEANS, SCALES, WEIGHTS = [[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.8, 0.5], [0.5, 0.2, 0.3]


def inner_times(process, n=9):
    """Times strictly inside of the process's range."""
    return torch.linspace(process.t_noise, process.t_data, n + 2, dtype=torch.float64)[1:-1]


def states(process, t, seed=0):
    """Draws of x_t for each of the times, (B, 2) float64."""
    generator = torch.Generator().manual_seed(seed)
    data = mixture(MEANS, SCALES, WEIGHTS, process).draw(len(t), generator)
    z = torch.randn(len(t), 2, dtype=torch.float64, generator=generator)
    return process.a(t)[:, None] * data + process.s(t)[:, None] * z


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_derivatives_and_inverse(process):
    t = inner_times(process).requires_grad_()
    for value, slope in ((process.a, process.da), (process.s, process.ds), (process.log_snr, process.dlog_snr)):
        out = value(t)
        exact = torch.autograd.grad(out.sum(), t)[0] if out.requires_grad else torch.zeros_like(t)
        torch.testing.assert_close(slope(t).detach(), exact, rtol=1e-11, atol=1e-13)
    t = t.detach()
    torch.testing.assert_close(process.log_snr(t), torch.log(process.a(t) / process.s(t)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(process.time(process.log_snr(t)), t, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(process.time_of_sigma(process.sigma(t)), t, rtol=1e-11, atol=1e-12)
    assert (torch.diff(process.log_snr(t)) > 0).all(), "the grid runs from noise to data"
    assert process.towards_data == math.copysign(1.0, float(process.wronskian(0.5)))
    assert ss.flows.from_dict(process.as_dict()) == process


def test_published_schedules():
    """Song et al. 2021, appendix C: the perturbation kernels of VP and VE."""
    t = 0.37
    log_mean = -0.25 * t**2 * (20.0 - 0.1) - 0.5 * t * 0.1
    assert float(VP().a(t)) == pytest.approx(math.exp(log_mean), rel=1e-13)
    assert float(VP().s(t)) == pytest.approx(math.sqrt(1.0 - math.exp(2.0 * log_mean)), rel=1e-13)
    assert float(VE().s(t)) == pytest.approx(0.01 * (50.0 / 0.01) ** t, rel=1e-13)
    assert float(FlowMatching().sigma(0.2)) == pytest.approx(0.8 / 0.2, rel=1e-13)


def test_ends():
    flow, vp, ve, edm = PROCESSES
    assert flow.ends_clean and not (vp.ends_clean or ve.ends_clean or edm.ends_clean)
    assert flow.sigmas == (0.0, math.inf)
    assert float(vp.time(math.inf)) == 0.0 and float(flow.time(math.inf)) == 1.0 and float(flow.time(-math.inf)) == 0.0
    assert ve.sigmas == pytest.approx((0.01, 50.0)) and edm.sigmas == pytest.approx((0.002, 80.0))


def nets(process):
    """The four predictions of the mixture, each by a formula of its own: the score is the gradient of the log density,
    and the velocity is Song's equation 13 in the process's time."""
    exact = mixture(MEANS, SCALES, WEIGHTS, process)

    def score(x, t):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(exact.log_density(x, t).sum(), x)[0]

    def denoised(x, t):
        a, s = process.a(t)[:, None], process.s(t)[:, None]
        return (x + s**2 * score(x, t)) / a

    def velocity(x, t):
        a, s, da, ds = (f(t)[:, None] for f in (process.a, process.s, process.da, process.ds))
        return da / a * x - (s * ds - s**2 * da / a) * score(x, t)

    def noise(x, t):
        return -process.s(t)[:, None] * score(x, t)

    return {"velocity": velocity, "denoised": denoised, "noise": noise, "score": score}


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_every_prediction_gives_every_other(process):
    t = inner_times(process)
    x = states(process, t)
    exact = nets(process)
    models = [Model(net, process, kind) for kind, net in exact.items()] + [mixture(MEANS, SCALES, WEIGHTS, process)]
    for model, kind in itertools.product(models, exact):
        torch.testing.assert_close(getattr(model, kind)(x, t), exact[kind](x, t), rtol=1e-7, atol=1e-8)
    for model in models:
        both = model.predictions(x, t)
        torch.testing.assert_close(both, (exact["denoised"](x, t), exact["noise"](x, t)), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("own", "other"), list(itertools.permutations(PROCESSES, 2)), ids=lambda p: p.name)
def test_a_model_in_another_process_is_the_other_processs_model(own, other):
    """The mixture of the one process, changed, is the mixture of the other, and changes back to itself."""
    low, high = max(own.sigmas[0], other.sigmas[0]), min(own.sigmas[1], other.sigmas[1])
    sigma = torch.logspace(
        math.log10(max(low, 1e-2) * 1.01), math.log10(min(high, 40.0) * 0.99), 9, dtype=torch.float64
    )
    t = other.time_of_sigma(sigma)
    x = states(other, t)
    changed = mixture(MEANS, SCALES, WEIGHTS, own).as_process(other)
    there = mixture(MEANS, SCALES, WEIGHTS, other)
    for kind in ("velocity", "denoised", "noise", "score"):
        torch.testing.assert_close(getattr(changed, kind)(x, t), getattr(there, kind)(x, t), rtol=1e-8, atol=1e-9)
    assert changed.as_process(own).process == own
    back = there.as_process(own).as_process(other)
    assert back is there
    for kind in ("velocity", "score"):
        twice = changed.as_process(own).as_process(other)
        torch.testing.assert_close(getattr(twice, kind)(x, t), getattr(there, kind)(x, t), rtol=1e-8, atol=1e-9)


def test_the_ends_of_flow_matching():
    """At t = 0 denoised data are the mean, at t = 1 they are x; both from velocities."""
    model = mixture(MEANS, SCALES, WEIGHTS)
    x = torch.randn(5, 2, dtype=torch.float64)
    mean = (torch.tensor(WEIGHTS, dtype=torch.float64)[:, None] * torch.tensor(MEANS, dtype=torch.float64)).sum(0)
    torch.testing.assert_close(model.denoised(x, 0.0), mean.expand(5, 2))
    torch.testing.assert_close(model.denoised(x, 1.0), x)
    torch.testing.assert_close(model.as_process(EDM()).denoised(x, 0.0), x)
    denoiser = Model(lambda x, t: x, FlowMatching(), "denoised")
    assert not model.singular(1.0) and denoiser.singular(1.0) and not denoiser.singular(0.0)
    assert mixture(MEANS, SCALES, WEIGHTS, VP()).singular(0.0)
    assert Model(lambda x, t: x, FlowMatching(), "noise").singular(0.0)
    assert all(Model(lambda x, t: x, VP(), kind).singular(0.0) for kind in ("velocity", "denoised", "noise", "score"))
    assert not any(Model(lambda x, t: x, VP(), kind).singular(1e-3) for kind in ("velocity", "denoised", "noise"))
    assert denoiser.as_process(EDM()).singular(0.0) and not denoiser.as_process(EDM()).singular(0.002)


def test_a_noise_network_of_vp_down_to_the_clean_end():
    """There s' is infinite: Heun's last step is Euler's, and a pair is refused."""
    exact = mixture(MEANS, SCALES, WEIGHTS, VP())
    model = Model(exact.noise, VP(), "noise")
    z = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grid = [*torch.linspace(1.0, 0.1, 40).tolist(), 0.01, 1e-3, 1e-4, 0.0]
    out = ss.flows.sample(model, z, "heun", grid=grid)
    assert out.success and not out.denoised
    wanted = ss.flows.sample(exact, z, "tsit5", rtol=1e-6, atol=1e-6).y
    torch.testing.assert_close(out.y, wanted, rtol=0.0, atol=0.05)
    with pytest.raises(ValueError, match="grid must end before t = 0"):
        ss.flows.sample(model, z, "bs32", grid=[1.0, 0.0], trajectory=True)


def test_round_off_beyond_an_end_is_taken_off():
    """Such as a float32 time of EDM just below zero, which is no noise level."""
    model, x = mixture(MEANS, SCALES, WEIGHTS, EDM()), torch.randn(4, 2, dtype=torch.float64)
    for view, beyond, end in ((model, -5e-5, 0.0), (mixture(MEANS, SCALES, WEIGHTS), 1.0 + 5e-7, 1.0)):
        assert torch.equal(view.denoised(x, beyond), view.denoised(x, end))
        other = VP() if view is model else EDM()
        assert torch.equal(view.as_process(VE()).denoised(x, 1.0 + 5e-7), view.as_process(VE()).denoised(x, 1.0))
        assert torch.isfinite(view.as_process(other).denoised(x, 0.5)).all()
    times = ss.flows.times([80.0, 1.0, -5e-5], 1, EDM())
    assert times.tolist() == [80.0, 1.0, 0.0]


def test_float32_keeps_its_type_and_takes_a_time_a_sample():
    model = mixture(MEANS, SCALES, WEIGHTS, VP())
    t = inner_times(VP(), 5)
    x = states(VP(), t)
    for kind in ("velocity", "denoised", "noise", "score"):
        single = getattr(model, kind)(x.float(), t.float())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), getattr(model, kind)(x, t), rtol=2e-3, atol=2e-3)
        each = torch.cat([getattr(model, kind)(x[i : i + 1], float(t[i])) for i in range(5)])
        torch.testing.assert_close(each, getattr(model, kind)(x, t))


def test_bad_input():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="did you mean 'velocity'"):
        Model(lambda x, t: x, FlowMatching(), "velocities")
    with pytest.raises(ValueError, match="process must be a process"):
        Model(lambda x, t: x, "vp")
    with pytest.raises(ValueError, match="net must be a function"):
        Model(3, VP())
    model = Model(lambda x, t: x, FlowMatching())
    for wrong in (1.5, -0.1, math.nan, torch.tensor([0.5, 0.5, 2.0])):
        with pytest.raises(ValueError, match="t must be from 0 to 1, the times of FlowMatching"):
            model.velocity(x, wrong)
    for wrong in ("a", None, [0.1, [0.2]]):
        with pytest.raises(ValueError, match="t must be a number, or a tensor of numbers"):
            model.velocity(x, wrong)
    with pytest.raises(ValueError, match="one a sample"):
        model.velocity(x, torch.zeros(2))
    with pytest.raises(ValueError, match="net must return a tensor of x's shape"):
        Model(lambda x, t: x[:, :1], FlowMatching()).velocity(x, 0.5)
    with pytest.raises(ValueError, match="float32 or float64"):
        model.velocity(torch.zeros(3, 2, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match=r"x must be of shape \(B, 2\) for this mixture, got \(3, 5\)"):
        mixture([[0.0, 1.0]], [1.0]).velocity(torch.zeros(3, 5), 0.5)
    with pytest.raises(ValueError, match="outside of what VE"):
        Model(lambda x, t: x, VE(), "denoised").as_process(EDM()).velocity(x, 60.0)
    with pytest.raises(ValueError, match="outside of what EDM"):
        Model(lambda x, t: x, EDM(), "denoised").as_process(FlowMatching()).velocity(x, 0.0)
    with pytest.raises(ValueError, match="beta_max"):
        VP(beta_max=0.05)
    with pytest.raises(ValueError, match="sigma_min"):
        EDM(sigma_min=0.0)
    with pytest.raises(ValueError, match="scales"):
        mixture([[0.0], [1.0]], [1.0, -1.0])
    with pytest.raises(ValueError, match="has no option"):
        ss.flows.from_dict({"name": "vp", "beta": 1.0})
