"""Samplers that draw noise, and samplers that choose their steps, against exact laws."""

from __future__ import annotations

import math

import pytest
import torch

from stepsmith.flows import EDM, VE, VP, FlowMatching, Model, mixture, sample, stochastic, times

PROCESSES = [FlowMatching(), VP(), VE(), EDM()]
M, C = torch.tensor([0.4, -1.0], dtype=torch.float64), 0.6
MEANS, SCALES, WEIGHTS = [[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.8, 0.5], [0.5, 0.2, 0.3]


def noise(n=6, seed=1):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def exact_end(process, z, start, end):
    """The probability flow of data N(M, C^2) takes every state along at its distance in standard deviations."""
    a, s, b, r = process.a(start), process.s(start), process.a(end), process.s(end)
    return b * M + torch.sqrt(b**2 * C**2 + r**2) * (s * z - a * M) / torch.sqrt(a**2 * C**2 + s**2)


@pytest.mark.parametrize("method", ["heun_euler", "tsit5"])
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_the_flow_of_gaussian_data(process, method):
    model, z = mixture(M[None], [C], None, process), noise()
    tolerance = 1e-5 if method == "heun_euler" else 1e-7
    out = sample(model, z, method, rtol=tolerance, atol=tolerance, denoise=False)
    assert out.success and not out.denoised
    torch.testing.assert_close(out.y, exact_end(process, z, *out.t), rtol=1e-3, atol=1e-3 if tolerance > 1e-6 else 1e-5)
    final = sample(model, z, method, rtol=tolerance, atol=tolerance)
    if process.ends_clean:
        assert torch.equal(final.y, out.y)
    else:
        torch.testing.assert_close(final.y, model.denoised(out.y, float(out.t[-1])))
        assert final.denoised and (final.nfe_per_sample == out.nfe_per_sample + 1).all()


def test_one_clock_or_one_a_sample():
    model, z = mixture(MEANS, SCALES, WEIGHTS), noise(40)
    fine = sample(model, z, "tsit5", rtol=1e-9, atol=1e-9).y
    for per_sample in (True, False):
        calls = []

        def net(x, t, calls=calls):
            calls.append(t.clone())
            return model.velocity(x, t)

        counted = Model(net, FlowMatching())
        out = sample(counted, z, "bs32", rtol=1e-3, atol=1e-3, per_sample=per_sample)
        assert out.success and float((out.y - fine).abs().max()) < 2e-2
        assert len(out.nfe_per_sample) == 40 and out.nfe == float(out.nfe_per_sample.double().mean())
        if per_sample:
            assert len(set(out.nfe_per_sample.tolist())) > 1 and any(len(set(t.tolist())) > 1 for t in calls)
            # a sample's steps do not depend on its companions
            some = sample(counted, z[5:9], "bs32", rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(some.y, out.y[5:9], rtol=1e-9, atol=1e-9)
        else:
            assert set(out.nfe_per_sample.tolist()) == {len(calls)}


def test_any_controller():
    """Laws differ in their steps, and all keep to the tolerance."""
    model, z = mixture(MEANS, SCALES, WEIGHTS, VP()), noise(20)
    fine = sample(model, z, "tsit5", rtol=1e-9, atol=1e-9).y
    work = set()
    for law in ("i", "pi34", "h211pi"):
        out = sample(model, z, "heun_euler", controller=law, rtol=1e-3, atol=1e-3)
        assert out.success and float((out.y - fine).abs().max()) < 3e-2
        work.add(out.naccept)
    assert len(work) == 3


def test_a_trajectory_at_given_times():
    model, z = mixture(M[None], [C]), noise()
    out = sample(model, z, "tsit5", rtol=1e-8, atol=1e-8, grid=[0.0, 0.3, 0.9, 1.0], trajectory=True)
    for t, x in zip(out.t, out.trajectory, strict=True):
        torch.testing.assert_close(x, exact_end(FlowMatching(), z, 0.0, t), rtol=1e-5, atol=1e-6)
    for process in PROCESSES:
        named = sample(mixture(M[None], [C], None, process), z, "bs32", 5, "edm", trajectory=True)
        assert len(named.trajectory) == len(named.t) == 6 and named.denoised is not process.ends_clean


@pytest.mark.parametrize("process", [VP(), EDM()], ids=lambda p: p.name)
def test_a_model_in_the_time_of_flow_matching(process):
    """Where the network does not know the ends of flow matching, the solve begins and ends within, with an estimate."""
    model, z = mixture(MEANS, SCALES, WEIGHTS, process), noise()
    there = model.as_process(FlowMatching())
    assert there.sigmas == pytest.approx(process.sigmas) and not there.process.sigmas[0]
    own = sample(model, z, "tsit5", rtol=1e-7, atol=1e-7)
    other = sample(there, z, "tsit5", rtol=1e-7, atol=1e-7)
    assert own.denoised and other.denoised and 0.0 < other.t[0] < other.t[-1] < 1.0
    torch.testing.assert_close(other.y, own.y, rtol=1e-4, atol=1e-4)
    for method, more in (("ab2", {"steps": 400}), ("gotta_go_fast", {}), ("ancestral", {}), ("euler_maruyama", {})):
        out = sample(there, z, method, **more)
        assert out.success and out.denoised and torch.isfinite(out.y).all()
        if method == "ab2":
            torch.testing.assert_close(out.y, own.y, rtol=0.0, atol=2e-3)
    twice = sample(mixture(MEANS, SCALES, WEIGHTS), z, "bs32", denoise=True)
    assert twice.denoised and twice.success


def test_a_score_that_is_not_finite_fails_its_sample_alone():
    model = mixture(MEANS, SCALES, WEIGHTS)
    z = noise()

    def net(x, t):
        out = model.velocity(x, t)
        return torch.where((t > 0.5)[:, None] & (x[:, :1] < 0), torch.nan, out)

    reached = sample(model, z, "bs32", rtol=1e-4, atol=1e-4, grid=[0.0, 0.5], trajectory=True)
    out = sample(Model(net, FlowMatching()), z, "bs32", rtol=1e-4, atol=1e-4)
    assert not out.success and 0 < int(out.failed.sum()) < 6 and torch.isnan(out.y[out.failed]).all()
    assert torch.isfinite(out.y[~out.failed]).all() and out.message != "done"
    assert (reached.y[out.failed][:, 0] < 0.5).all()
    few = sample(model, z, "bs32", rtol=1e-9, atol=1e-9, max_steps=5)
    assert not few.success and bool(few.failed.all())


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize("method", ["ancestral", "euler_maruyama"])
def test_the_law_of_gaussian_data(process, method):
    """Many steps of a stochastic method give draws of the data: mean and deviation, within five standard errors and the
    bias of the steps."""
    n = 20_000
    model = mixture(M[None], [C], None, process)
    out = sample(model, noise(n), method, 200, "edm", seed=5)
    assert out.success and out.nfe == 200
    assert out.denoised is (method == "euler_maruyama" or not process.ends_clean)
    torch.testing.assert_close(out.y.mean(0), M, rtol=0.0, atol=5 * C / n**0.5 + 0.01)
    torch.testing.assert_close(out.y.std(0), torch.full((2,), C, dtype=torch.float64), rtol=0.0, atol=0.03)
    assert abs(float(torch.corrcoef(out.y.T)[0, 1])) < 5 / n**0.5


def test_ancestral_steps_are_exact_where_the_data_are_known():
    """Of data that are one point, x_t has the law N(a m, s^2) after every step, on a coarse grid too, and draws at two
    times are correlated as the forward process has it: a_t s_s^2-ratio of DDPM."""
    n, process = 40_000, VP()
    model = Model(lambda x, t: M.expand_as(x), process, "denoised")
    out = sample(model, noise(n), "ancestral", grid=[1.0, 0.5, 0.3, 0.1], seed=2, trajectory=True, denoise=False)
    for t, x in zip(out.t[1:], out.trajectory[1:], strict=True):
        torch.testing.assert_close(x.mean(0), process.a(t) * M, rtol=0.0, atol=5 * float(process.s(t)) / n**0.5)
        torch.testing.assert_close(x.std(0), process.s(t).expand(2), rtol=4.0 / n**0.5, atol=0.0)
    late, early = out.trajectory[-1], out.trajectory[-2]
    a, b = process.a(out.t[-1]), process.a(out.t[-2])
    # forward: x_early = (b/a) x_late + independent noise
    slope = ((late - late.mean(0)) * (early - early.mean(0))).sum(0) / (late - late.mean(0)).square().sum(0)
    torch.testing.assert_close(slope, (b / a).expand(2), rtol=0.0, atol=0.03)


def test_published_steps():
    """One step each: DDIM's equation 16 with eta = 1 in alpha-bar, and the reverse SDE of VP in beta."""
    model, z, process = mixture(MEANS, SCALES, WEIGHTS, VP()), noise(), VP()
    now, end = 0.6, 0.4
    drawn = torch.randn(z.shape, dtype=z.dtype, generator=stochastic.stream(7))
    start = process.s(now) * z
    bar, bar_end = float(process.a(now)) ** 2, float(process.a(end)) ** 2
    eps = model.noise(start, now)
    eta = math.sqrt((1 - bar_end) / (1 - bar)) * math.sqrt(1 - bar / bar_end)
    predicted = (start - math.sqrt(1 - bar) * eps) / math.sqrt(bar)
    exact = math.sqrt(bar_end) * predicted + math.sqrt(1 - bar_end - eta**2) * eps + eta * drawn
    out = sample(model, z, "ancestral", grid=[now, end], seed=7, denoise=False)
    torch.testing.assert_close(out.y, exact, rtol=1e-10, atol=1e-11)
    beta, h = 0.1 + now * 19.9, now - end
    exact = start + h * (0.5 * beta * start + beta * model.score(start, now)) + math.sqrt(beta * h) * drawn
    out = sample(model, z, "euler_maruyama", grid=[now, end], seed=7, denoise=False)
    torch.testing.assert_close(out.y, exact, rtol=1e-10, atol=1e-11)


def test_seeds():
    model, z = mixture(MEANS, SCALES, WEIGHTS), noise().float()
    for method in ("ancestral", "euler_maruyama"):
        one, two, other = (sample(model, z, method, 5, seed=s).y for s in (3, 3, 4))
        assert one.dtype == torch.float32 and torch.equal(one, two) and not torch.equal(one, other)


def test_noise_of_the_same_seed_does_not_come_again():
    """Noise is often drawn by torch.manual_seed(0), and 0 is the default of `sample`: of data that are one point, the
    state after a first step of DDPM's in VP is a sum of that noise and new noise, independent of it."""
    n, process, now, end = 20_000, VP(), 0.6, 0.5
    for dtype in (torch.float32, torch.float64):
        z = torch.randn(n, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))
        model = Model(lambda x, t: torch.zeros_like(x), process, "denoised")
        out = sample(model, z, "ancestral", grid=[now, end], denoise=False)
        torch.testing.assert_close(float(out.y.std()), float(process.s(end)), rtol=0.02, atol=0.0)
    for seed in (2**63 - 1, 2**63):
        assert isinstance(stochastic.stream(seed), torch.Generator)


def test_bad_input():
    model, z = mixture(MEANS, SCALES, WEIGHTS), noise()
    with pytest.raises(ValueError, match="steps means nothing to 'tsit5'"):
        sample(model, z, "tsit5", steps=8)
    with pytest.raises(ValueError, match="grid means nothing to 'bs32'"):
        sample(model, z, "bs32", grid="edm")
    with pytest.raises(ValueError, match="did you mean 'dopri5'"):
        sample(model, z, "dopri55")
    with pytest.raises(ValueError, match="seed"):
        sample(model, z, "ancestral", seed=-1)
    with pytest.raises(ValueError, match="per_sample means nothing to 'heun'"):
        sample(model, z, "heun", per_sample=True)
    with pytest.raises(ValueError, match="grid must begin where there is signal"):
        sample(model, z, "euler_maruyama", grid=[0.0, 0.5, 0.9])
    with pytest.raises(ValueError, match="pi345"):
        sample(model, z, "bs32", controller="pi345")
    with pytest.raises(ValueError, match="rtol"):
        sample(model, z, "bs32", rtol=-1.0)
    denoiser = Model(model.denoised, FlowMatching(), "denoised")
    with pytest.raises(ValueError, match="grid must end before t = 1, where a network that predicts denoised"):
        sample(denoiser, z, "bs32")
    inside = times("uniform", 10, model)[:-1]
    assert sample(denoiser, z, "bs32", grid=inside, trajectory=True).denoised


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_the_reverse_sde_gives_the_law_of_gaussian_data(process):
    n = 3000
    model = mixture(M[None], [C], None, process)
    out = sample(model, noise(n), "gotta_go_fast", rtol=0.02, atol=0.02, seed=3)
    assert out.success and out.denoised and out.nfe == float(out.nfe_per_sample.double().mean())
    assert len(set(out.nfe_per_sample.tolist())) > 1
    torch.testing.assert_close(out.y.mean(0), M, rtol=0.0, atol=5 * C / n**0.5 + 0.02)
    torch.testing.assert_close(out.y.std(0), torch.full((2,), C, dtype=torch.float64), rtol=0.0, atol=0.06)


@pytest.mark.parametrize("method", ["gotta_go_fast", "sra1"])
def test_the_reverse_sde_of_a_mixture(method):
    """Weights and spread of the parts, in VP; the same seed gives the same samples, whatever their companions."""
    n = 2000
    model = mixture([[2.0, 0.0], [-2.0, 0.0]], [0.3, 0.3], [0.7, 0.3], VP())
    z = noise(n)
    out = sample(model, z, method, rtol=0.05, atol=0.05, seed=3)
    right = out.y[:, 0] > 0
    assert float(right.double().mean()) == pytest.approx(0.7, abs=5 * (0.7 * 0.3 / n) ** 0.5 + 0.02)
    assert float(out.y[right].std(0).max()) == pytest.approx(0.3, abs=0.06)
    assert float(out.y[right][:, 0].mean()) == pytest.approx(2.0, abs=0.06)
    few = sample(model, z[:5], method, rtol=0.05, atol=0.05, seed=3)
    torch.testing.assert_close(few.y, out.y[:5], rtol=1e-9, atol=1e-9)
    assert not torch.equal(sample(model, z[:5], method, rtol=0.05, atol=0.05, seed=4).y, few.y)


def test_the_reverse_sde_takes_fewer_evaluations_at_looser_tolerances_and_any_controller():
    model, z = mixture(MEANS, SCALES, WEIGHTS, VP()), noise(30).float()
    work = [sample(model, z, "gotta_go_fast", rtol=tol, atol=tol).nfe for tol in (0.3, 0.05)]
    assert work[0] < 0.7 * work[1]
    for per_sample in (True, False):
        out = sample(model, z, "gotta_go_fast", controller="i", per_sample=per_sample, rtol=0.1, atol=0.1)
        assert out.success and out.y.dtype == torch.float32
    assert len(set(out.nfe_per_sample.tolist())) == 1
    way = sample(model, z, "sra1", grid=[1.0, 0.4, 0.01], rtol=0.1, atol=0.1, trajectory=True)
    assert way.trajectory.shape == (3, 30, 2) and way.denoised


def test_the_reverse_sde_refuses_what_does_not_fit():
    model, z = mixture(MEANS, SCALES, WEIGHTS), noise()
    with pytest.raises(ValueError, match="grid must begin where there is signal"):
        sample(model, z, "sra1", grid=[0.0, 0.9], trajectory=True)
    with pytest.raises(ValueError, match="steps means nothing to 'gotta_go_fast'"):
        sample(model, z, "gotta_go_fast", steps=4)

    def net(x, t):
        return torch.where((t > 0.5)[:, None] & (torch.arange(len(x))[:, None] == 1), torch.nan, model.velocity(x, t))

    out = sample(Model(net, FlowMatching()), z, "gotta_go_fast", rtol=0.2, atol=0.2)
    assert not out.success and out.failed.tolist() == [i == 1 for i in range(6)] and torch.isnan(out.y[1]).all()


def test_images_are_as_good_as_vectors():
    target = torch.linspace(-1, 1, 12).reshape(3, 2, 2)
    model = Model(lambda x, t: target.expand_as(x), VP(), "denoised")
    z = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for method in ("bs32", "gotta_go_fast", "ancestral", "euler_maruyama"):
        out = sample(model, z, method)
        torch.testing.assert_close(out.y, target.expand(5, 3, 2, 2))
        assert out.success and out.failed.shape == (5,)
