"""The Brownian motion behind the SDE solver in torch: its law whatever is rejected, its bridge, its names."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

import stepsmith as ss
from sde_fields import GBM, MU, SIGMA
from stepsmith.integrators.neural.sde import api
from stepsmith.integrators.neural.sde.brownian import DEPTH, Foreign, Memory, Tree
from stepsmith.integrators.neural.sde.normals import normals, streams
from stepsmith.integrators.noise import counter, normal

CPU = torch.device("cpu")
PATHS = 20_000


class Redraw(Memory):
    """Forgets what it has drawn when an attempt is rejected."""

    def increment(self, t, end, run):
        self.pieces.count[:] = 0
        self.pieces.end[:] = np.nan
        return super().increment(t, end, run)


def made(kind: str, n: int = PATHS, seed: int = 1, ids=None):
    ids = np.arange(n) if ids is None else np.asarray(ids)
    return Memory(seed, ids, 1, True, CPU) if kind == "memory" else Tree(seed, ids, 1, CPU, 0.0, 1.0)


def adaptive(source, n, largest, revisit=True):
    """W and H over [0, 1] of steps that are rejected where |W| is large, and the share of rejections."""
    t, size, run = np.zeros(n), np.full(n, 0.3), np.ones(n, dtype=bool)
    w, area, rejected, tried = torch.zeros(n, 1).double(), torch.zeros(n, 1).double(), 0, 0
    while run.any():
        end = source.snapped(t, np.minimum(t + size, 1.0))
        dw, dh = source.increment(t, end, run)
        accept = run & ((dw[:, 0].abs().numpy() < largest) | (end - t < 0.01))
        mask, h = torch.from_numpy(accept)[:, None], torch.from_numpy(end - t)[:, None]
        area = area + torch.where(mask, h * (w + 0.5 * dw + dh), 0.0)
        w = w + torch.where(mask, dw, 0.0)
        source.accept(accept)
        tried, rejected = tried + run.sum(), rejected + (run & ~accept).sum()
        t, size = np.where(accept, end, t), np.where(accept, np.minimum(1.3 * size, 0.5), 0.6 * size)
        run &= t < 1.0
    return w[:, 0], (area - 0.5 * w)[:, 0], rejected / tried


def within(values: torch.Tensor, variance: float, errors: float = 4.0) -> bool:
    """Whether mean 0 and the variance are met to so many standard errors of a normal sample."""
    n = len(values)
    mean_off = abs(float(values.mean())) / math.sqrt(variance / n)
    variance_off = abs(float(values.var()) / variance - 1.0) / math.sqrt(2.0 / n)
    return mean_off < errors and variance_off < errors


def test_numbers_are_those_of_numpy_for_the_same_keys():
    own = streams(5, np.arange(4), CPU)
    assert np.array_equal(own.numpy(), normal.keys(5, np.arange(4)))
    node = np.array([7, 1, 2**49, -3])
    place = counter.key(own.numpy(), node)
    np.testing.assert_allclose(
        normals(own, node, 3).numpy(), normal.normals(place[:, None], np.arange(3)[None]), rtol=1e-13
    )


@pytest.mark.parametrize("kind", ["memory", "tree"])
def test_the_law_survives_rejections(kind):
    w, levy, share = adaptive(made(kind), PATHS, largest=0.25)
    assert share > 0.3
    assert within(w, 1.0) and within(levy, 1.0 / 12.0)
    assert abs(float((w * levy).mean())) < 4.0 * math.sqrt(1.0 / 12.0 / PATHS)


def test_drawing_anew_is_seen_to_change_the_law():
    w, _, share = adaptive(Redraw(1, np.arange(PATHS), 1, True, CPU), PATHS, largest=0.25)
    assert share > 0.25 and not within(w, 1.0, errors=20.0)


@pytest.mark.parametrize("controller", ["i", "pi34"])
def test_the_solvers_own_rejections_leave_the_law_alone(controller):
    """GBM with mu = .5, sigma = 1 by Milstein's method at tolerance .1: W_1 and log X_1 of the paths it solved."""
    y0 = torch.ones(PATHS, 1, dtype=torch.float64)

    def run(revisit=True):
        return ss.neural.sdeint(
            lambda t, y: 0.5 * y, lambda t, y: y, y0, [0.0, 1.0], method="milstein_ito", rtol=0.1, atol=0.1,
            controller=controller, first_step=1.0, adjoint="none", heuristics=False, seed=3, revisit=revisit,
        )  # fmt: skip

    for revisit in (True, False):
        sol = run(revisit)
        assert sol.stats.nreject > 0.03 * sol.stats.naccept
        assert within(sol.W[-1, :, 0], 1.0)


def test_the_solver_shows_the_bias_of_drawing_anew(monkeypatch):
    y0 = torch.ones(PATHS, 1, dtype=torch.float64)
    monkeypatch.setattr(
        api, "_source", lambda given, seed, ids, width, levy, y, t, coupled: Redraw(seed, ids, width, levy, CPU)
    )
    sol = ss.neural.sdeint(
        lambda t, y: 0.5 * y, lambda t, y: y, y0, [0.0, 1.0], method="milstein_ito", rtol=0.1, atol=0.1,
        controller="i", first_step=1.0, adjoint="none", heuristics=False, seed=3, revisit=False,
    )  # fmt: skip
    assert sol.success and not within(sol.W[-1, :, 0], 1.0, errors=10.0)


@pytest.mark.parametrize("kind", ["memory", "tree"])
def test_pieces_join_to_what_was_split(kind):
    n, whole, parts = 64, made(kind, 64), made(kind, 64)
    everyone, zero, one = np.ones(n, dtype=bool), np.zeros(n), np.ones(n)
    if kind == "memory":
        # the first draw is over the whole interval in both
        parts.increment(zero, one, everyone)
    w, h = whole.increment(zero, one, everyone)
    ends, total, area = [0.0, 0.11, 0.3, 0.77, 1.0], torch.zeros(n, 1), torch.zeros(n, 1)
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        dw, dh = parts.increment(zero + a, zero + b, everyone)
        parts.accept(everyone)
        area, total = area + (b - a) * (total + 0.5 * dw + dh), total + dw
    torch.testing.assert_close(total, w, rtol=0, atol=1e-13)
    torch.testing.assert_close(area - 0.5 * total, h, rtol=0, atol=1e-12 if kind == "memory" else 2.0 ** (2 - DEPTH))


def test_the_tree_is_a_function_of_time():
    """However the steps are chosen, W at a time is the same number."""
    n, everyone = 16, np.ones(16, dtype=bool)
    found = []
    for inner in ([0.3], [0.1, 0.3], [0.25, 0.29, 0.3]):
        source, t, w = made("tree", n), np.zeros(n), torch.zeros(n, 1)
        for end in inner:
            w = w + source.increment(t, np.full(n, end), everyone)[0]
            source.accept(everyone)
            t = np.full(n, end)
        found.append(w)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-14)
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=1e-14)


def test_a_rejected_attempt_is_not_forgotten():
    """After a shorter attempt the increment over the first interval is still the first one."""
    for kind in ("memory", "tree"):
        source, everyone = made(kind, 8), np.ones(8, dtype=bool)
        first = source.increment(np.zeros(8), np.full(8, 0.5), everyone)
        source.increment(np.zeros(8), np.full(8, 0.125), everyone)
        again = source.increment(np.zeros(8), np.full(8, 0.5), everyone)
        torch.testing.assert_close(again[0], first[0], rtol=0, atol=1e-14)
        torch.testing.assert_close(again[1], first[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("brownian", ["memory", "tree"])
def test_a_sample_has_its_path_whoever_else_is_in_the_batch(brownian):
    drift, diffusion, _ = GBM["ito"]
    y0 = torch.linspace(0.5, 2.0, 6, dtype=torch.float64)[:, None]
    options = {"rtol": 1e-2, "atol": 1e-2, "brownian": brownian, "seed": 7, "adjoint": "none"}
    whole = ss.neural.sdeint(drift, diffusion, y0, [0.0, 0.4, 1.0], **options)
    for rows in ([3], [5, 1]):
        part = ss.neural.sdeint(drift, diffusion, y0[rows], [0.0, 0.4, 1.0], sample_ids=rows, **options)
        assert torch.equal(part.W, whole.W[:, rows])
        torch.testing.assert_close(part.y, whole.y[:, rows], rtol=1e-14, atol=0)
        assert np.array_equal(part.stats.naccept_per_sample, whole.stats.naccept_per_sample[rows])


def test_seeds_name_paths():
    drift, diffusion, _ = GBM["ito"]
    y0 = torch.ones(4, 2, dtype=torch.float64)
    runs = [ss.neural.sdeint(drift, diffusion, y0, [0.0, 1.0], seed=s, adjoint="none") for s in (0, 0, 1)]
    assert torch.equal(runs[0].y, runs[1].y)
    assert not torch.equal(runs[0].y, runs[2].y)
    # components and samples differ
    assert len(torch.unique(runs[0].W[-1])) == 8


def test_a_wider_tolerance_sees_the_same_tree():
    drift, diffusion, _ = GBM["ito"]
    y0 = torch.ones(3, 2, dtype=torch.float64)
    paths = [
        ss.neural.sdeint(
            drift, diffusion, y0, [0.0, 0.3, 1.0], method=m, rtol=tol, atol=tol, brownian="tree", adjoint="none"
        ).W
        for m, tol in (("sosri", 1e-1), ("sosri", 1e-2), ("milstein_ito", 1e-2))
    ]
    for path in paths[1:]:
        torch.testing.assert_close(path, paths[0], rtol=0, atol=1e-13)


def test_torchsdes_interval_drives_the_same_solver():
    torchsde = pytest.importorskip("torchsde")
    y0 = torch.ones(200, 1, dtype=torch.float64)
    interval = torchsde.BrownianInterval(
        t0=0.0, t1=1.0, size=(200, 1), dtype=torch.float64, entropy=5, levy_area_approximation="space-time"
    )
    drift, diffusion, solution = GBM["ito"]
    sol = ss.neural.sdeint(
        drift, diffusion, y0, [0.0, 1.0], rtol=2e-2, atol=2e-2, brownian=interval, per_sample=False, adjoint="none"
    )
    torch.testing.assert_close(sol.W[-1], interval(0.0, 1.0), rtol=0, atol=1e-9)
    assert float((sol.y[-1] - solution(1.0, sol.W[-1], y0)).abs().mean()) < 1e-3
    with pytest.raises(ValueError, match="per_sample=False"):
        ss.neural.sdeint(drift, diffusion, y0, [0.0, 1.0], brownian=interval)
    with pytest.raises(ValueError, match="noise here"):
        ss.neural.sdeint(drift, diffusion, y0[:5], [0.0, 1.0], brownian=interval, per_sample=False)
    with pytest.raises(ValueError, match="noise here"):
        ss.neural.sdeint(drift, diffusion, y0.reshape(2, 100), [0.0, 1.0], brownian=interval, per_sample=False)
    with pytest.raises(ValueError, match="brownian spans 0 to 1"):
        ss.neural.sdeint(drift, diffusion, y0, [0.0, 1.5], brownian=interval, per_sample=False)
    plain = torchsde.BrownianInterval(t0=0.0, t1=1.0, size=(200, 1), levy_area_approximation="none")
    with pytest.raises(ValueError, match="space-time"):
        ss.neural.sdeint(drift, diffusion, y0, [0.0, 1.0], brownian=plain, per_sample=False)


def test_torchsdes_levy_area_is_the_space_time_one():
    """Against the integral of the same path over a fine grid."""
    torchsde = pytest.importorskip("torchsde")
    interval = torchsde.BrownianInterval(
        t0=0.0, t1=1.0, size=(500, 1), dtype=torch.float64, entropy=1, levy_area_approximation="space-time"
    )
    n, everyone = 500, np.ones(500, dtype=bool)
    w, h = Foreign(interval, (n, 1), True, CPU).increment(np.full(n, 0.2), np.full(n, 0.7), everyone)
    assert within(w, 0.5) and within(h, 0.5 / 12.0)
    # int (W_s - W_0.2) ds over the halves, joined
    a = Foreign(interval, (n, 1), True, CPU).increment(np.full(n, 0.2), np.full(n, 0.45), everyone)
    b = Foreign(interval, (n, 1), True, CPU).increment(np.full(n, 0.45), np.full(n, 0.7), everyone)
    area = 0.25 * (0.5 * a[0] + a[1]) + 0.25 * (a[0] + 0.5 * b[0] + b[1])
    torch.testing.assert_close(0.5 * (0.5 * w + h), area, rtol=0, atol=1e-6)


def test_weak_moments_of_geometric_brownian_motion():
    """E X_1 = exp(mu), E X_1^2 = exp(2 mu + sigma^2), by adaptive steps along 20,000 paths."""
    drift, diffusion, _ = GBM["ito"]
    y0 = torch.ones(PATHS, 1, dtype=torch.float64)
    sol = ss.neural.sdeint(
        drift, diffusion, y0, [0.0, 1.0], rtol=0.05, atol=0.05, adjoint="none", heuristics=False, seed=11
    )
    x, mean, square = sol.y[-1, :, 0], math.exp(MU), math.exp(2 * MU + SIGMA**2)
    fourth = math.exp(4 * MU + 6 * SIGMA**2)
    assert abs(float(x.mean()) - mean) < 4.0 * math.sqrt((square - mean**2) / PATHS)
    assert abs(float((x * x).mean()) - square) < 4.0 * math.sqrt((fourth - square**2) / PATHS)


@pytest.mark.parametrize(("method", "right"), [("milstein_ito", False), ("stochastic_heun", True)])
def test_rejections_where_the_noise_does_not_commute(method, right):
    """dX = (X_2 dW_1, X_1 dW_2) is a martingale, the same in Ito's and in Stratonovich's sense.  Milstein's method
    without the products W_1 W_2 leaves it where attempts are rejected, and says so; Heun's does not."""
    y0 = torch.tensor([[1.0, 0.5]], dtype=torch.float64).repeat(PATHS, 1)
    options = {"method": method, "adjoint": "none", "heuristics": False, "seed": 5}

    def off(sol):
        """How many standard errors the means are off, the larger one."""
        x = sol.y[-1]
        return float(((x.mean(0) - y0[0]).abs() / (x.std(0) / math.sqrt(PATHS))).max())

    def solve(**more):
        return ss.neural.sdeint(
            lambda t, y: torch.zeros_like(y), lambda t, y: y.flip(-1), y0, [0.0, 1.0], **options, **more
        )

    adaptive = {"rtol": 0.1, "atol": 0.1, "controller": "i", "first_step": 1.0}
    if right:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert off(solve(**adaptive)) < 4.0
    else:
        with pytest.warns(UserWarning, match="may then converge to a wrong solution"):
            assert off(solve(**adaptive)) > 10.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert off(solve(step_size=0.25)) < 4.0


def test_the_warning_of_rejections_comes_once_in_a_loop():
    y0 = torch.tensor([[1.0, 0.5]], dtype=torch.float64).repeat(50, 1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for seed in range(4):
            ss.neural.sdeint(
                lambda t, y: torch.zeros_like(y), lambda t, y: y.flip(-1), y0, [0.0, 1.0], method="milstein_ito",
                rtol=0.1, atol=0.1, controller="i", first_step=1.0, adjoint="none", seed=seed,
            )  # fmt: skip
    assert len(seen) == 1


def test_the_tree_refuses_outputs_that_it_does_not_tell_apart():
    y0, t = torch.ones(2, 1, dtype=torch.float64), [0.0, 0.5, 0.5 + 2.0**-52, 1.0]
    with pytest.raises(ValueError, match="closer"):
        ss.neural.sdeint(lambda t, y: -y, lambda t, y: 0.1 * y, y0, t, brownian="tree")


def test_a_step_of_the_tree_that_rounds_onto_an_output_time_ends_there():
    """The grid's time and the output's differ by one rounding: what is left between them is no step."""
    t = [1.2, 1.55, 1.9]
    size = math.nextafter(t[1] - t[0], 0.0)
    while t[0] + size >= t[1]:
        size = math.nextafter(size, 0.0)
    y0 = torch.ones(1, 1, dtype=torch.float64)
    sol = ss.neural.sdeint(
        lambda t, y: -0.1 * y, lambda t, y: 0.01 * y, y0, t, rtol=1.0, atol=1.0, first_step=size, max_step=size,
        brownian="tree",
    )  # fmt: skip
    assert sol.success and torch.isfinite(sol.W).all()
