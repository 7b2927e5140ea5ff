"""Times of a schedule in the conventions of diffusers' schedulers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepsmith.flows import EDM, VE, FlowMatching, Schedule, linear, mixture, sample

MEANS, SCALES, WEIGHTS = [[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.8, 0.5], [0.5, 0.2, 0.3]
MODEL = mixture(MEANS, SCALES, WEIGHTS)


def noise(n=6, seed=1):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def euler_schedule(process, grid):
    rows = linear.adams(grid, 1)
    return Schedule.of("dp", rows, process=process.as_dict(), span=(float(grid[0]), float(grid[-1])))


def test_sigmas_of_flow_matching_are_one_less_its_times():
    grid = torch.tensor([0.0, 0.2, 0.55, 1.0], dtype=torch.float64)
    schedule = euler_schedule(FlowMatching(), grid)
    np.testing.assert_allclose(schedule.sigmas("flow"), [1.0, 0.8, 0.45], rtol=1e-15)
    np.testing.assert_allclose(schedule.timesteps("flow"), [1000.0, 800.0, 450.0], rtol=1e-15)
    undone = schedule.sigmas("flow", shift=3.0)  # the scheduler makes 3 s / (1 + 2 s) of them
    np.testing.assert_allclose(3 * undone / (1 + 2 * undone), [1.0, 0.8, 0.45], rtol=1e-14)
    with pytest.raises(ValueError, match="first sigma is infinite"):
        schedule.sigmas("euler")


def test_sigmas_of_edm_are_its_times_and_a_ramp():
    grid = torch.tensor([80.0, 5.0, 0.3, 0.002], dtype=torch.float64)
    schedule = euler_schedule(EDM(), grid)
    np.testing.assert_allclose(schedule.sigmas("euler"), grid.numpy(), rtol=1e-14)
    ramp = schedule.sigmas("edm")
    least, most = 0.002 ** (1 / 7), 80.0 ** (1 / 7)
    np.testing.assert_allclose((most + ramp * (least - most)) ** 7, [80.0, 5.0, 0.3], rtol=1e-12)
    with pytest.raises(ValueError, match="sigmas must lie in"):
        schedule.sigmas("edm", sigma_max=40.0)
    with pytest.raises(ValueError, match="does not fall"):
        Schedule(
            "bns", [80.0, 1.0, 2.0, 0.002], np.zeros(3), np.ones(3), np.zeros((3, 3)), EDM().as_dict(), (80.0, 0.002)
        ).sigmas("euler")


def test_timesteps_are_places_in_alphas_cumprod():
    alphas = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))
    levels = torch.tensor(((1 - alphas) / alphas) ** 0.5)
    process = VE(sigma_min=float(levels[0]), sigma_max=float(levels[-1]))
    schedule = euler_schedule(process, process.time_of_sigma(levels[[999, 500, 37, 0]]))
    np.testing.assert_allclose(schedule.timesteps("ddpm", alphas_cumprod=alphas), [999, 500, 37], atol=1e-6)
    with pytest.raises(ValueError, match="not all among"):
        schedule.timesteps("ddpm", alphas_cumprod=alphas[100:])
    with pytest.raises(ValueError, match="alphas_cumprod must be"):
        schedule.timesteps("ddpm")


def test_diffusers_walks_the_same_way():
    diffusers = pytest.importorskip("diffusers")
    grid = torch.tensor([0.0, 0.2, 0.55, 1.0], dtype=torch.float64)
    schedule = euler_schedule(FlowMatching(), grid)
    wanted = sample(MODEL, noise(), schedule=schedule).y
    for shift, given in ((1.0, "sigmas"), (3.0, "sigmas"), (1.0, "timesteps")):
        theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        made = schedule.sigmas("flow", shift=shift) if given == "sigmas" else schedule.timesteps("flow")
        theirs.set_timesteps(**{given: made.tolist()})
        x = noise()
        for t in theirs.timesteps:  # their velocity points from data to noise, and 1 is noise
            x = theirs.step(-MODEL.velocity(x, 1 - t.double() / 1000), t, x).prev_sample
        torch.testing.assert_close(x.double(), wanted, rtol=1e-5, atol=1e-5)
    model = mixture(MEANS, SCALES, WEIGHTS, EDM())
    schedule = euler_schedule(EDM(), torch.tensor([80.0, 5.0, 0.3, 0.0], dtype=torch.float64))
    theirs = diffusers.EulerDiscreteScheduler()
    theirs.set_timesteps(sigmas=schedule.sigmas("euler").tolist())
    x = 80.0 * noise()
    for i, t in enumerate(theirs.timesteps):
        theirs.scale_model_input(x, t)
        x = theirs.step(model.noise(x, theirs.sigmas[i].double()), t, x).prev_sample
    wanted = sample(model, noise(), schedule=schedule).y
    torch.testing.assert_close(x.double(), wanted, rtol=1e-3, atol=1e-3)
    theirs = diffusers.EDMEulerScheduler()
    theirs.set_timesteps(sigmas=torch.from_numpy(schedule.sigmas("edm")))
    x = 80.0 * noise()
    for i, t in enumerate(theirs.timesteps):
        seen, sigma = theirs.scale_model_input(x, t), theirs.sigmas[i].double()
        data = theirs.config.sigma_data  # their network's answer is preconditioned: put the denoised data into it
        skip, out = data**2 / (sigma**2 + data**2), sigma * data / (sigma**2 + data**2).sqrt()
        assert seen.shape == x.shape
        x = theirs.step((model.denoised(x, sigma) - skip * x) / out, t, x).prev_sample
    torch.testing.assert_close(x.double(), wanted, rtol=1e-3, atol=1e-3)
    theirs, schedule = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), euler_schedule(FlowMatching(), grid)
    theirs.set_timesteps(timesteps=schedule.timesteps("flow").tolist())
    with pytest.raises(AssertionError):  # as the page says: a shift goes over the sigmas, not over the time steps
        np.testing.assert_allclose(theirs.sigmas[:-1], schedule.sigmas("flow"), rtol=1e-3)
