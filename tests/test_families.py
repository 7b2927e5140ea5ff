"""Families: their protocol, seeds and disjoint splits, measures of error, and families of a caller's own."""

import pickle
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from stepsmith import solve
from stepsmith.integrators import problems
from stepsmith.integrators.engine import measure
from stepsmith.integrators.problems.families import Family, early_outputs, tolerance_grid
from stepsmith.integrators.problems.problem import Batch, Problem

NAMES = problems.names()


def test_registry_lists_every_family_file():
    assert set(NAMES) == {
        "lotka_volterra", "lorenz", "henon_heiles", "double_pendulum", "arenstorf", "pleiades", "brusselator",
        "fitzhugh_nagumo", "vanderpol", "neural_field", "kepler", "plummer", "three_body", "three_body_paper",
        "rober", "hires", "orego", "e5", "vdpol_stiff", "pollu", "ring_modulator", "medical_akzo", "brusselator_1d",
        "gray_scott_1d", "hodgkin_huxley", "ignition", "flame", "friction", "chua", "steppo_vdpol",
        "steppo_brusselator", "steppo_decay", "lorenz96", "kuramoto", "species", "rate_network", "neural_training",
    }  # fmt: skip
    assert list(NAMES) == sorted(NAMES)


def test_importing_the_registry_imports_no_compiler():
    code = "import sys; import stepsmith.integrators.problems as p; p.names(); print('numba' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_unknown_names_list_the_nearest():
    with pytest.raises(ValueError, match="three_body"):
        problems.make("threebody")
    with pytest.raises(ValueError, match="lorenz"):
        problems.sample("lorentz", 3, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_protocol(name):
    fam = problems.family(name)
    assert fam.name == name and fam.doc
    assert len(fam.tolerances) >= 12 and all(
        a > b > 0 for a, b in zip(fam.tolerances, fam.tolerances[1:], strict=False)
    )
    lo, hi = fam.levels
    levels = fam.error_levels
    assert levels[0] == pytest.approx(lo) and levels[-1] == pytest.approx(hi)
    assert np.diff(np.log10(levels)) == pytest.approx(np.full(levels.size - 1, 0.125), rel=0.05)
    assert fam.fractions[-1] == 1.0 and (fam.error == "final") == (fam.fractions.size == 1)
    assert fam.error == "final" or fam.fractions.size >= 32
    problem = fam.canonical()
    assert (problem.n, problem.m, problem.family) == (fam.n, fam.m, name)
    if fam.error == "energy":
        assert "energy" in problem.invariants


@pytest.mark.parametrize("name", NAMES)
def test_sampling_is_deterministic_and_splits_are_disjoint(name):
    fam = problems.family(name)
    draws = {s: fam.split(s, 20, seed=0) for s in ("train", "validation", "test")}
    draws |= {"sample": problems.sample(name, 20, seed=0), "train 1": fam.split("train", 20, seed=1)}
    keys = []
    for batch in draws.values():
        assert len(batch) == 20 and (batch.n, batch.m, batch.family, batch.name) == (fam.n, fam.m, name, name)
        assert np.isfinite(batch.y0).all() and (batch.t1 > batch.t0).all()
        keys += [np.concatenate([batch.y0[i], batch.p[i]]).tobytes() for i in range(20)]
    assert len(set(keys)) == 100
    again = fam.split("test", 20, seed=0)
    for field in ("y0", "p", "t0", "t1"):
        assert np.array_equal(getattr(again, field), getattr(draws["test"], field))


def test_make_with_seed_is_the_instance_of_that_number():
    a, b = problems.make("lorenz", seed=3), problems.make("lorenz", seed=3)
    assert np.array_equal(a.y0, b.y0) and not np.array_equal(a.y0, problems.make("lorenz", seed=4).y0)
    assert np.array_equal(a.y0, problems.sample("lorenz", 1, seed=3).y0[0])
    assert np.array_equal(problems.make("lorenz").y0, [1.0, 0.0, 0.0])
    assert problems.make("plummer").family == "plummer"


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_bad_seeds(seed):
    with pytest.raises(ValueError, match="seed must be"):
        problems.sample("lorenz", 2, seed=seed)


def test_bad_counts_and_splits():
    with pytest.raises(ValueError, match="n must be"):
        problems.sample("lorenz", -1, seed=0)
    with pytest.raises(ValueError, match="unknown split"):
        problems.family("lorenz").split("dev", 3)
    assert len(problems.sample("lorenz", 0, seed=0)) == 0


def test_splits_do_not_depend_on_the_hash_seed():
    code = (
        "from stepsmith.integrators import problems as p;"
        "print(repr(p.family('vanderpol').split('test', 2, 5).y0.tolist()))"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": s, "PATH": ""},
        ).stdout
        for s in ("1", "2")
    }
    assert len(outs) == 1 and "[" in outs.pop()


# --- error measures


def test_errors_state():
    fam = problems.family("lorenz")
    batch = problems.sample("lorenz", 3, seed=0)
    ref = np.random.default_rng(0).normal(size=(3, 32, 3)) + 5.0
    y = ref.copy()
    y[0, 7] *= 1 + 1e-5
    y[1, 3, 1] += 1e-3
    y[2, 31, 0] = np.nan
    error = fam.errors(batch, y, ref)
    assert error[0] == pytest.approx(1e-5, rel=1e-6)
    assert error[1] == pytest.approx(1e-3 / np.linalg.norm(ref[1, 3]), rel=1e-6)
    assert error[2] == np.inf
    with pytest.raises(ValueError, match="y must have shape"):
        fam.errors(batch, y[:, :5], ref)
    with pytest.raises(ValueError, match="y_ref must have shape"):
        fam.errors(batch, y, None)


def test_errors_energy():
    fam = problems.family("plummer")
    batch = problems.sample("plummer", 2, seed=0)
    y = np.repeat(batch.y0[:, None], 64, axis=1)
    assert np.array_equal(fam.errors(batch, y, None), np.zeros(2))
    y[1, 5, 24:] *= np.sqrt(1.02)  # kinetic 1/4 up by 2 % of a total of -1/4
    assert fam.errors(batch, y, None)[1] == pytest.approx(0.02, rel=1e-9)
    y[0, 0, 0] = np.inf
    assert fam.errors(batch, y, None)[0] == np.inf
    assert fam.reference(batch) is None


def test_errors_on_chosen_components():
    def rhs(t, y, p, dy):
        dy[0] = dy[1] = 0.0

    def sampler(rng, n):
        return Batch(rhs, np.ones((n, 2)), np.ones((n, 0)), np.zeros(n), np.ones(n))

    fam = Family("toy", "two components", rhs, 2, 0, sampler, error="final", components=(1,))
    batch = fam.split("train", 1)
    assert fam.errors(batch, np.array([[[9.0, 1.1]]]), np.array([[[1.0, 1.0]]]))[0] == pytest.approx(0.1)


def test_early_outputs_and_floor():
    t = np.array(early_outputs(1e-4, 20, 40))
    assert t.size == 60 and t[0] == 1e-4 and t[20:] == pytest.approx(np.arange(1, 41) / 40, rel=1e-15)
    assert np.diff(np.log(t[:21])) == pytest.approx(np.full(20, np.log(250.0) / 20), rel=1e-12)

    def rhs(t, y, p, dy):
        dy[0] = 0.0

    def sampler(rng, n):
        return Batch(rhs, np.ones((n, 1)), np.ones((n, 0)), np.zeros(n), np.ones(n))

    fam = Family("toy", "one component", rhs, 1, 0, sampler, outputs=tuple(t), floor=0.5)
    assert np.array_equal(fam.fractions, t)
    batch = fam.split("train", 1)
    for size, want in ((4.0, 0.25), (0.5, 2.0), (0.1, 2.0), (0.0, 2.0)):  # an absolute error of 1, once
        y, ref = np.zeros((1, 60, 1)), np.zeros((1, 60, 1))
        y[0, 7], ref[0, 7] = size + 1.0, size
        assert fam.errors(batch, y, ref)[0] == measure.errors(fam, batch, y, ref, np.array([True]))[0] == want


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"error": "max"}, "error must be one of"),
        ({"tolerances": tolerance_grid(1e-2, 1e-4, 5)}, "at least 12"),
        ({"tolerances": tuple(reversed(tolerance_grid(1e-2, 1e-4)))}, "decreasing"),
        ({"levels": (1e-2, 1e-4)}, "levels must be"),
        ({"n_out": 8}, "n_out must be at least 32"),
        ({"atol_factor": -1.0}, "atol_factor"),
        ({"outputs": (0.5, 1.0)}, "n_out must be at least 32"),
        ({"outputs": (0.0, *early_outputs(1e-3))}, "outputs must be"),
        ({"outputs": early_outputs(1e-3)[:-1]}, "outputs must be"),
        ({"outputs": early_outputs(1e-3), "error": "final"}, "outputs must be"),
        ({"floor": -1.0}, "floor"),
        ({"floor": float("nan")}, "floor"),
    ],
)
def test_bad_protocols(change, word):
    fam = problems.family("lorenz")
    with pytest.raises(ValueError, match=word):
        Family(**({"name": "x", "doc": "x", "rhs": fam.rhs, "n": 3, "m": 3, "sampler": fam.sampler} | change))


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(problems, "_REGISTERED", {})


def _mine(energy, name="mine"):
    def sampler(rng, count):
        y0 = np.column_stack([rng.uniform(0.5, 1.5, count), np.zeros(count)])
        return Batch(
            _oscillator,
            y0,
            np.zeros((count, 0)),
            np.zeros(count),
            np.full(count, 6.0),
            name=name,
            invariants={"energy": energy},
        )

    return Family(
        name=name, doc="oscillator", rhs=_oscillator, n=2, m=0, sampler=sampler, error="energy", levels=(1e-6, 1e-3)
    )


def _oscillator(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0]


def _right(t, y, p):
    return 0.5 * (y[0] * y[0] + y[1] * y[1])


def _wrong(t, y, p):
    return 0.5 * y[0] * y[0] + 1.0


def test_a_registered_family_is_known_by_its_name_and_replaced_whole(registered):
    import gymnasium

    def errors():
        env = gymnasium.make("stepsmith/ODE-v0", family="mine", pool_size=4, rtol=(1e-3, 1e-4))
        env.reset(seed=0)
        for _ in range(2000):
            *_, terminated, truncated, info = env.step(np.zeros(2, np.float32))
            if terminated or truncated:
                return info["stepsmith"]["error"]
        raise AssertionError("the episode does not end")

    problems.register(_mine(_wrong))
    assert "mine" in problems.names() and errors() > 0.1
    problems.register(_mine(_right))  # a notebook's cell that is corrected and runs again
    assert errors() < 1e-2
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        problems.family("mime")


def test_names_of_shipped_families_are_taken(registered):
    for name in ("lorenz", "brusselator_1d_100"):
        with pytest.raises(ValueError, match=f"family '{name}' ships with the package"):
            problems.register(_mine(_right, name))
    with pytest.raises(ValueError, match="family must be a stepsmith.Family"):
        problems.register("lorenz")
    with pytest.raises(ValueError, match="family must be a name"):
        problems.family({})


#: family, its dimension at a size, the size, the least, the one that has no number
SIZED = [
    ("plummer", 72, 12, 2, 8), ("neural_field", 4, 12, 1, 16), ("lorenz96", 12, 12, 4, 40), ("kuramoto", 12, 12, 2, 32),
    ("species", 12, 12, 2, 20), ("rate_network", 12, 12, 1, 20),
]  # fmt: skip


@pytest.mark.parametrize(("name", "n", "size", "least", "usual"), SIZED)
def test_families_that_come_in_sizes(name, n, size, least, usual):
    fam = problems.family(f"{name}_{size}")
    assert fam.n == n and fam.name == f"{name}_{size}" and problems.make(fam.name).n == n
    batch = problems.sample(fam.name, 2, seed=0)
    assert batch.rhs is fam.rhs and batch.family == fam.name and batch.p.shape[1] == fam.m
    for fn in (fam.rhs, problems.family(name).rhs, *(batch.invariants or {}).values()):
        assert pickle.loads(pickle.dumps(fn)) is fn
    for family in (fam, problems.family(name)):
        assert pickle.loads(pickle.dumps(family)).draw(2, 0).y0.tolist() == family.draw(2, 0).y0.tolist()
    assert problems.family(f"{name}_{usual}").name == name
    with pytest.raises(ValueError, match=f"at least {least}, got {least - 1}"):
        problems.family(f"{name}_{least - 1}")
    with pytest.raises(ValueError, match=name):
        problems.family(f"{name}_x")
    with pytest.raises(AttributeError, match="no attribute 'nothing_here'"):
        import_module(fam.rhs.__module__).nothing_here  # noqa: B018


def test_a_cluster_of_any_size_is_in_henon_units():
    batch = problems.sample("plummer_16", 4, seed=1)
    v = batch.y0[:, 48:].reshape(4, 16, 3)
    assert batch.invariant("energy", batch.t0, batch.y0) == pytest.approx(np.full(4, -0.25), rel=1e-12)
    assert 0.5 * (v**2).sum(axis=(1, 2)) / 16 == pytest.approx(np.full(4, 0.25), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["plummer_9", "neural_field_20", "lorenz96_5", "kuramoto_3", "species_3", "rate_network_4"]
)
def test_sizes_in_a_compiled_solve_against_scipy(name):
    """Nine is the least number of bodies that is a loop; the others have another size than the usual one."""
    problem = problems.make(name, seed=2)
    end = 0.1 * problem.t_span[1]

    def rhs(t, y):
        dy = np.empty_like(y)
        problem.rhs(t, y, problem.p, dy)
        return dy

    want = solve_ivp(rhs, (0.0, end), problem.y0, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    short = Problem(problem.rhs, problem.y0, (0.0, end), problem.p, name=name)
    found = solve(short, "tsit5", "pi34", rtol=1e-10, atol=1e-12)
    assert found.success and found.y[-1] == pytest.approx(want, rel=1e-7, abs=1e-8)
