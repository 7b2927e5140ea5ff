"""Fields that a training run met: the weights are the run's, errors and counts are the solver's, tuner and comparison
take them.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

import stepsmith as ss  # noqa: E402
from stepsmith.controllers.laws import registry  # noqa: E402
from stepsmith.integrators.neural import odeint  # noqa: E402
from stepsmith.train.evaluate.curves import log_work_at  # noqa: E402
from stepsmith.train.neural import fields, loop  # noqa: E402
from stepsmith.train.neural.config import from_dict  # noqa: E402
from stepsmith.train.tune.search import tune_splits  # noqa: E402

CONFIG = {
    "name": "toy", "task": {"name": "digits", "hidden": 8}, "solver": {"tolerance": 1e-3},
    "train": {"epochs": 3, "batch": 256, "learning_rate": 0.02, "keep": [0, 3]},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return loop.train(from_dict(CONFIG), out=tmp_path_factory.mktemp("run") / "r", progress=False)


@pytest.fixture(scope="module")
def found(folder):
    return fields.instances(folder, "validation", batch=16, batches=2, seed=3)


def test_there_is_one_for_every_epoch_and_batch(found):
    names = ["epoch 0, batch 0", "epoch 0, batch 1", "epoch 3, batch 0", "epoch 3, batch 1"]
    assert [i.name for i in found] == [f"toy-s0, {name}" for name in names]
    assert all(i.y0.shape == (16, 64) and i.ref.shape == (1, 16, 64) and i.before[0].shape == (16, 64) for i in found)
    assert not torch.equal(found[0].y0, found[1].y0) and torch.equal(found[1].before[0], found[0].before[0])
    # no subject is in two of them
    three = torch.cat([found[0].y0, found[1].y0, found[0].before[0]])
    assert len(torch.unique(three, dim=0)) == 48
    assert not torch.equal(found[0].y0, found[2].y0)  # other subjects at every epoch
    weights = [i.field.inner.weight for i in found]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])


def test_the_last_epochs_field_is_the_models(folder, found):
    from safetensors.torch import load_file

    model = load_file(folder / "model.safetensors")
    assert any(torch.equal(v, found[-1].field.inner.weight) for v in model.values())


def test_draws_are_reproducible_and_other_seeds_differ(folder, found):
    again = fields.instances(folder, "validation", batch=16, batches=2, seed=3)
    assert all(torch.equal(a.y0, b.y0) and torch.equal(a.ref, b.ref) for a, b in zip(found, again, strict=True))
    assert not torch.equal(fields.instances(folder, "validation", batch=16, seed=4)[0].y0, found[0].y0)


def test_a_sweep_is_the_solver_and_its_error(found):
    tols = np.array([1e-2, 1e-5, 1e-8])
    split = fields.FieldSplit(fields.FieldBand("toy"), "dopri5", 0, found)
    sweep = split.sweep("h211b", tols)
    assert sweep.err.shape == (4, 3) and np.array_equal(sweep.nfev, sweep.work)
    i = found[2]
    with torch.no_grad():
        for k, tol in enumerate(tols):
            law = registry.get("h211b")
            sol = odeint(i.field, i.y0, i.t, "dopri5", law, tol, tol, adjoint="none", per_sample=False)
            off = (sol.y[-1] - i.ref[0]).norm() / i.ref[0].norm()
            assert sweep.err[2, k] == pytest.approx(float(off), rel=1e-9) and sweep.nfev[2, k] == sol.stats.nfev
    # SciPy at a tolerance of its own agrees with the reference
    from scipy.integrate import solve_ivp

    def slope(t, y):
        with torch.no_grad():
            return i.field(torch.tensor(t), torch.from_numpy(y.reshape(16, 64))).numpy().ravel()

    exact = solve_ivp(slope, (0.0, 1.0), i.y0.numpy().ravel(), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(i.ref[0].numpy().ravel(), exact, atol=1e-10)


@pytest.mark.parametrize("law", ["i", "h211b"])  # the filter takes a dozen solves to come to its size
def test_a_warm_sweep_is_at_its_fixed_point(found, law):
    tols = np.array([1e-4, 1e-8])
    cold, warm = (
        fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, found[2:3], w).sweep(law, tols) for w in (False, True)
    )
    assert (warm.nfev < cold.nfev).all() and (warm.err < 30 * tols).all()
    for k, tol in enumerate(tols):
        size = None
        for _ in range(60):
            size = float(found[2].solve(registry.get(law), "tsit5", tol, size, other=True).stats.first_step[0])
        assert found[2].warmed(registry.get(law), "tsit5", tol) == pytest.approx(size, rel=0.05)
        assert abs(found[2].solve(registry.get(law), "tsit5", tol, size).stats.nfev - warm.nfev[0, k]) <= 6


@pytest.mark.parametrize("warm", [False, True])
def test_runs_beyond_the_tightest_level_are_not_made(found, warm):
    tols = np.logspace(-1, -11, 11)
    splits = (fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, found[::2], warm, whole=w) for w in (True, False))
    whole, short = (split.sweep("pi34", tols) for split in splits)
    for i in range(2):
        reached = whole.err[i] <= fields.LEVELS[0]
        first = int(np.flatnonzero(reached)[0])
        assert reached[first:].all()
        last = int(np.flatnonzero(whole.work[i] > whole.work[i, first])[0])
        assert 3 < last < 10  # the two kinds differ, or nothing is shown
        for name in ("err", "work", "nfev", "attempts", "rejected"):
            np.testing.assert_array_equal(getattr(short, name)[i, : last + 1], getattr(whole, name)[i, : last + 1])
        assert (short.err[i, last:] == whole.err[i, last]).all() and (short.work[i, last:] == whole.work[i, last]).all()
        assert (short.nfev[i, last + 1 :] == 0).all() and (whole.nfev[i] > 0).all()
    split = fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, found[:1], whole=False)
    levels = split.family.error_levels
    assert np.isfinite(log_work_at(whole.err, whole.work, levels)).any()
    np.testing.assert_array_equal(
        log_work_at(short.err, short.work, levels), log_work_at(whole.err, whole.work, levels)
    )
    with pytest.raises(ValueError, match="must decrease"):
        split.sweep("pi34", tols[::-1])


def test_equal_work_at_the_tightest_level_goes_on(found):
    """A tighter run of no more work moves the envelope's last vertex, and with it the levels before: it must be made.
    """
    split = fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, found[:1], whole=False)
    tols = np.array([1e-2, 1e-9, 0.9999e-9, 0.9998e-9, 0.9997e-9, 1e-12, 1e-13])
    sweep = split.sweep("pi34", tols)
    assert sweep.err[0, 1] <= fields.LEVELS[0] and len(set(sweep.work[0, 1:5])) == 1
    assert (sweep.nfev[0, :6] > 0).all() and sweep.nfev[0, 6] == 0 and sweep.work[0, 5] > sweep.work[0, 4]


def test_failures_at_loose_tolerances_end_nothing(found):
    """A controller that fails on its first two solves and then goes its way."""
    law, seen = registry.get("pi34"), []

    class Instance:
        ref, name = found[0].ref, "x"

        def solve(self, controller, method, tol, size, **options):
            seen.append(tol)
            return found[0].solve(
                controller, method, tol, size, **{**options, "max_steps": 1 if len(seen) <= 2 else 300}
            )

        error = found[0].error

    sweep = fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, [Instance()], whole=False).sweep(
        law, np.logspace(-2, -7, 6)
    )
    assert np.isinf(sweep.err[0, :2]).all() and np.isfinite(sweep.err[0, 2:]).all() and len(seen) > 4
    seen.clear()
    never = fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, found[:1], whole=False).sweep(
        law, np.logspace(-2, -9, 8), max_steps=1
    )
    assert np.isinf(never.err).all() and np.count_nonzero(never.nfev) == 5 and (never.work > 0).all()


def test_two_failures_in_a_row_end_the_tolerances(found):
    tols = np.logspace(-1, -9, 9)
    split = fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, found[:1], whole=False)
    every = fields.FieldSplit(split.family, "tsit5", 0, found[:1])
    sweep, whole = (s.sweep("pi34", tols, max_steps=4) for s in (split, every))
    first = int(np.flatnonzero(np.isinf(whole.err[0]))[0])
    assert 0 < first < 7 and np.isinf(whole.err[0, first:]).all() and (whole.nfev > 0).all()
    np.testing.assert_array_equal(sweep.err, whole.err)
    assert (sweep.nfev[0, : first + 2] > 0).all() and (sweep.nfev[0, first + 2 :] == 0).all() and (sweep.work > 0).all()


def test_even_steps_reach_the_solver(found):
    tols = np.array([1e-4, 1e-6])
    split = fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, found[:1], even=True)
    i, sweep = found[0], split.sweep("pi34", tols)
    for k, tol in enumerate(tols):
        with torch.no_grad():
            sol = odeint(
                i.field,
                i.y0,
                i.t,
                "tsit5",
                registry.get("pi34"),
                tol,
                tol,
                adjoint="none",
                per_sample=False,
                even_steps=True,
            )
        assert sweep.err[0, k] == i.error(sol.y) and sweep.nfev[0, k] == sol.stats.nfev


def test_failures_are_infinite(found):
    sweep = fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 0, found[:1]).sweep(
        "pi34", np.array([1e-9]), max_steps=2
    )
    assert np.isinf(sweep.err[0, 0]) and sweep.nfev[0, 0] > 0


def test_the_tuner_takes_them(folder, found):
    knobs = (1e-3, 1e-6, 1e-9)
    train = fields.FieldSplit(
        fields.FieldBand("toy"), "tsit5", 0, fields.instances(folder, "train", 8, 1, 1)[-1:], knobs=knobs
    )
    valid = fields.FieldSplit(fields.FieldBand("toy"), "tsit5", 5, found[-1:], knobs=knobs)
    least = len([n for n in registry.names("linear")]) + 21
    out = tune_splits("toy", [train], [valid], least, restarts=1, progress=False)
    assert out.facts["family"] == "toy" and out.facts["validation"]["seed"] == 5 and min(out.ratios.values()) == 1.0
    assert out.facts["tolerances"] == list(knobs)
    y0 = found[0].y0
    sol = ss.neural.odeint(found[0].field, y0, found[0].t, controller=out.law, per_sample=False)
    assert sol.success


def test_a_law_is_tuned_on_runs_from_the_command_line(folder, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from stepsmith.train.cli import app

    monkeypatch.setattr(fields, "TOLERANCES", (1e-3, 1e-6, 1e-9))
    least = str(len(registry.names("linear")) + 21)
    other = loop.train(from_dict({**CONFIG, "seed": 1}), out=tmp_path / "other", progress=False)
    command = [
        "tune",
        str(folder),
        "--validation",
        str(other),
        "--evaluations",
        least,
        "--restarts",
        "1",
        "--warm",
        "--batch",
        "8",
    ]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "law.json")])
    assert done.exit_code == 0, done.output
    assert ss.controller(tmp_path / "law.json").kind == "linear"
    facts = json.loads((tmp_path / "law.json").read_text())
    assert facts["fields"] == {
        "train": [str(folder)],
        "validation": [str(other)],
        "warm": True,
        "even": False,
        "batch": 8,
        "n": 1,
    }
    assert facts["family"] == "toy-s0-tol0.001"
    for bad, message in ((command, "where it is to go"), (["tune", "lorenz", "--warm"], "is none")):
        with pytest.raises(ValueError, match=message):
            CliRunner().invoke(app, bad, catch_exceptions=False)
    with pytest.raises(ValueError, match="a training and a validation run"):
        fields.tune_fields([folder], [folder])


def test_an_alias_of_a_method_is_the_method(folder, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(fields, "tune_splits", lambda name, *splits, **options: seen.extend(splits))
    other = loop.train(from_dict({**CONFIG, "seed": 1}), out=tmp_path / "other", progress=False)
    with pytest.raises(AttributeError):  # what stands for the tuner gives nothing
        fields.tune_fields([folder], [other], "bosh3", evaluations=100, batch=2, progress=False)
    train, validation = seen[0], seen[1]
    assert [split.method for split in (*train, *validation)] == ["bs32", "bs32"]
    with pytest.raises(ValueError, match="did you mean 'bosh3'"):
        fields.tune_fields([folder], [other], "bosch3")


def test_folders_that_do_not_serve_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="no run that keeps weights"):
        fields.instances(tmp_path)
    with pytest.raises(ValueError, match="part must be one of"):
        fields.instances(folder, "all")
    with pytest.raises(ValueError, match="do not make 300 batches"):
        fields.instances(folder, "validation", batches=300)
    single = {**CONFIG, "train": {**CONFIG["train"], "dtype": "float32", "epochs": 1, "keep": [0]}}
    with pytest.raises(ValueError, match="ran in float32"):
        fields.instances(loop.train(from_dict(single), out=tmp_path / "single", progress=False))
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    (cut / "weights" / "00003.safetensors").unlink()
    with pytest.raises(ValueError, match="has not kept all"):
        fields.instances(cut)
