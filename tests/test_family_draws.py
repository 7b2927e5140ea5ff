"""What samplers of families draw, against independent statements of the published distributions."""

import numpy as np
import pytest

from stepsmith.integrators import problems


def test_paper_draws_against_an_independent_statement():
    """arXiv:2502.12809: one draw of four numbers a seed, au and km/s, then the centre of mass."""
    batch = problems.sample("three_body_paper", 100, seed=0)
    km_per_au, s_per_yr = 149597870.7, 31557600.0
    for seed in (0, 1, 57, 99):
        np.random.seed(seed)  # noqa: NPY002
        k0, k1, k2, k3 = (np.random.uniform(a, b) for a, b in ((5, 20), (0, 10), (0, -10), (5, 20)))  # noqa: NPY002
        x = np.array([0, 0, k0, k1, k2, k3], float).reshape(3, 2)
        v = np.array([0, 10, -10, 0, 0, 0], float).reshape(3, 2) * s_per_yr / km_per_au
        x, v = x - x.sum(axis=0) / 3, v - v.sum(axis=0) / 3
        assert batch.y0[seed] == pytest.approx(np.concatenate([x.ravel(), v.ravel()]), rel=1e-14, abs=1e-14)
        assert np.array_equal(problems.make("three_body_paper", seed=seed).y0, batch.y0[seed])
    assert batch.p[0] == pytest.approx([4 * np.pi**2, 1, 1, 1])
    assert (batch.t1 == 30.0).all() and problems.family("three_body_paper").fractions.size == 300
    assert v[0, 1] - v[2, 1] == pytest.approx(2.1095, abs=1e-4)


def test_paper_splits_leave_the_papers_seeds_alone():
    fam = problems.family("three_body_paper")
    paper = {y.tobytes() for y in fam.draw(1000, 0).y0}
    for split in ("train", "validation", "test"):
        assert not paper & {y.tobytes() for y in fam.split(split, 200).y0}


def test_three_body_distribution():
    batch = problems.sample("three_body", 4000, seed=0)
    x, v = batch.y0[:, :6].reshape(-1, 3, 2), batch.y0[:, 6:].reshape(-1, 3, 2)
    assert np.abs(x.mean(axis=1)).max() < 1e-14 and np.abs(v.mean(axis=1)).max() < 1e-14
    # centring three draws leaves 2/3 of the variance
    assert x.var() == pytest.approx(2 / 3, rel=0.03) and v.var() == pytest.approx(0.25 * 2 / 3, rel=0.03)
    assert 1.0 <= batch.t1.min() < 1.01 and 3.99 < batch.t1.max() <= 4.0
    assert (batch.p == 1.0).all() and batch.nbody == (3, 2)


def test_plummer_is_in_henon_units():
    batch = problems.sample("plummer", 20, seed=1)
    v = batch.y0[:, 24:].reshape(20, 8, 3)
    assert batch.invariant("energy", batch.t0, batch.y0) == pytest.approx(np.full(20, -0.25), rel=1e-12)
    assert 0.5 * (v**2).sum(axis=(1, 2)) / 8 == pytest.approx(np.full(20, 0.25), rel=1e-12)
    assert np.abs(batch.y0.reshape(20, 2, 8, 3).mean(axis=2)).max() < 1e-14


def test_plummer_density_profile():
    """Mass within r of the unscaled model: r^3/(1 + r^2)^1.5; its virial mean square speed: 3 pi/32 for G = M = a = 1.
    """
    from stepsmith.integrators.problems.nbody.plummer import cluster

    x, v = cluster(np.random.default_rng(5), 1000)
    # in Henon units the scale length is 3 pi / 16 (Heggie and Mathieu 1986)
    a = 3 * np.pi / 16
    r = np.linalg.norm(x, axis=1)
    assert np.mean(r < a) == pytest.approx(2**-1.5, abs=0.06)
    assert np.median(r) == pytest.approx(1.305 * a, rel=0.12)
    assert np.mean(np.sum(v * v, axis=1)) == pytest.approx(0.5, rel=1e-12)


def test_kepler_elements():
    from stepsmith.integrators.problems.nbody.kepler import eccentric_anomaly

    batch = problems.sample("kepler", 200, seed=2)
    x, v = (batch.y0[:, s + 2 : s + 4] - batch.y0[:, s : s + 2] for s in (0, 4))
    r, v2 = np.linalg.norm(x, axis=1), (v**2).sum(axis=1)
    assert 1 / (2 / r - v2) == pytest.approx(np.ones(200), rel=1e-11)  # vis viva: semi-major axis
    ang = x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]
    e = np.sqrt(1 - ang**2)
    assert 0 <= e.min() and 0.8 < e.max() <= 0.9
    momentum = batch.p[:, 1:2] * batch.y0[:, 4:6] + batch.p[:, 2:3] * batch.y0[:, 6:8]
    assert np.abs(momentum).max() < 1e-15
    mean, ecc = np.linspace(0, 2 * np.pi, 50), np.linspace(0, 0.999, 50)
    angle = eccentric_anomaly(mean.copy(), ecc)
    assert angle - ecc * np.sin(angle) == pytest.approx(mean, abs=1e-12)


def test_henon_heiles_energies():
    batch = problems.sample("henon_heiles", 300, seed=2)
    e = batch.invariant("energy", batch.t0, batch.y0)
    assert 1 / 12 <= e.min() and e.max() < 1 / 6
    assert float(
        problems.make("henon_heiles").invariant("energy", 0.0, problems.make("henon_heiles").y0)
    ) == pytest.approx(1 / 8)


@pytest.mark.parametrize("name", problems.names())
def test_an_instance_does_not_depend_on_how_many_there_are(name):
    fam = problems.family(name)
    few, many = fam.split("test", 2, 5), fam.split("test", 70, 5)
    for k in ("y0", "p", "t0", "t1"):
        assert np.array_equal(getattr(few, k), getattr(many, k)[:2])
    assert len(few) == 2 and len(many) == 70 and few.family == name

    def rows(batch):
        return {(y.tobytes(), q.tobytes(), float(t)) for y, q, t in zip(batch.y0, batch.p, batch.t1, strict=True)}

    # the seventy are of two blocks, and no instance stands in both, or in another split
    assert len(rows(many)) == 70
    assert not rows(many) & rows(fam.split("train", 70, 5))


def test_lorenz96_starts_on_the_attractor():
    """At F = 8 the climate is known: mean 2.3, standard deviation 3.6 (Lorenz and Emanuel 1998)."""
    from stepsmith.integrators.problems.nonstiff.lorenz96 import on_attractor

    x = on_attractor(np.random.default_rng(3), np.full((400, 1), 8.0), 40)
    assert x.mean() == pytest.approx(2.34, abs=0.06) and x.std() == pytest.approx(3.64, abs=0.06)
    force = problems.sample("lorenz96", 500, seed=1).p
    assert force.min() >= 7.0 and force.max() < 10.0 and force.mean() == pytest.approx(8.5, abs=0.15)


def test_kuramoto_draws():
    batch = problems.sample("kuramoto", 2000, seed=1)
    assert batch.p[:, 1:].mean() == pytest.approx(0.0, abs=0.02) and batch.p[:, 1:].std() == pytest.approx(1, rel=0.02)
    assert 2.0 <= batch.p[:, 0].min() and batch.p[:, 0].max() < 6.0
    assert 0.0 <= batch.y0.min() and batch.y0.max() < 2 * np.pi


def test_species_draws():
    """Interactions have mean mu/N and standard deviation sigma/sqrt(N) off the diagonal, which is 1."""
    batch = problems.sample("species", 2000, seed=1)
    a = batch.p[:, 20:].reshape(-1, 20, 20)
    assert (a[:, np.arange(20), np.arange(20)] == 1.0).all()
    off = a[:, ~np.eye(20, dtype=bool)]
    assert 20 * off.mean() == pytest.approx(4.0, abs=0.05)
    assert 20 * (off.std(axis=1) ** 2).mean() == pytest.approx((0.9**3 - 0.3**3) / 1.8, rel=0.04)
    assert batch.p[:, :20].min() >= 0.5 and batch.p[:, :20].max() < 1.5 and batch.y0.min() >= 0.05


def test_rate_network_draws():
    batch = problems.sample("rate_network", 1000, seed=1)
    weights = batch.p[:, 22:]
    assert 20 * (weights**2).mean() == pytest.approx((1.2**3 - 0.5**3) / 2.1, rel=0.02)
    assert weights.mean() == pytest.approx(0.0, abs=1e-3) and batch.y0.std() == pytest.approx(1.0, rel=0.02)
    amplitude, omega, phases = batch.p[:, 0], batch.p[:, 1], batch.p[:, 2:22]
    assert 0.5 <= amplitude.min() and amplitude.max() < 2.0 and 0.5 <= omega.min() and omega.max() < 3.0
    assert 0.0 <= phases.min() and phases.max() < 2 * np.pi
