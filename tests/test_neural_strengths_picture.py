"""The picture of strengths over training: what is read off logs, old ones included, and which pictures are drawn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from stepsmith.train.neural import effects, strengths_picture  # noqa: E402
from stepsmith.train.run.runfiles import write_json  # noqa: E402

RATIO = {"kind": "ratio", "value": 0.3}
SPEC = {
    "name": "tiny", "seeds": [0, 1], "tolerances": [1e-2, 1e-4], "baseline": "vanilla",
    "tasks": {"d": {"config": "neural_digits"}, "plain": {"config": "neural_digits"}},
    "variants": {
        "er": {"only": ["d"], "regulariser": {"name": "er_mean", "strength": RATIO}},
        "raw": {"only": ["d"], "regulariser": {"name": "kinetic", "strength": {"kind": "constant", "value": 2.0}}},
        "vanilla": {},
    },
}  # fmt: skip


def row(epoch, **columns):
    """A row of the log at an epoch of a run whose penalty is 0.5 ** epoch."""
    trained = epoch > 0
    means = {"loss": 1.0, "penalty": 0.5**epoch, "strength": 2.0 * epoch, "nfev": 20.0, "nfev_replay": 3.0}
    return {
        "epoch": epoch, **{name: value if trained else None for name, value in {**means, **columns}.items()},
        "metric": "accuracy", "validation": 0.5 + 0.1 * epoch,
    }  # fmt: skip


def ended(spec, out, rows, status="finished"):
    """Folders of every run of the comparison with these rows."""
    for unit in spec.units:
        folder = out / unit.folder
        folder.mkdir(parents=True)
        write_json(folder / "config.json", unit.config.as_dict())
        (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        names = {"task": unit.task, "variant": unit.variant, "tolerance": unit.tolerance, "seed": unit.seed}
        write_json(folder / "result.json", {**names, "status": status})


def courses(spec, out):
    return {u.variant: strengths_picture.course(u, out / u.folder, True) for u in spec.units}


def test_what_a_log_says(tmp_path):
    spec = effects.from_tables(SPEC)
    ended(spec, tmp_path, [row(0, ratio=0.0, er_mean=0.0, sr_mean=0.0), row(2, ratio=0.7, er_mean=1e-3, sr_mean=3.0)])
    found = courses(spec, tmp_path)["er"]
    assert found.metric == "accuracy" and found.epochs.tolist() == [0.0, 2.0]
    assert {k: v[1] for k, v in found.columns.items()} == {
        "strength": 4.0, "ratio": 0.7, "er_mean": 1e-3, "sr_mean": 3.0, "work": 23.0, "validation": 0.7,
    }  # fmt: skip
    assert all(math.isnan(v[0]) for k, v in found.columns.items() if k != "validation")


def test_what_a_log_without_the_columns_says(tmp_path):
    """A constant ratio is the config's, and a mean E h the penalty where that is one."""
    spec = effects.from_tables(SPEC)
    ended(spec, tmp_path, [row(0), row(1), row(2)])
    found = courses(spec, tmp_path)
    np.testing.assert_array_equal(found["er"].columns["ratio"], [np.nan, 0.3, 0.3])
    np.testing.assert_array_equal(found["er"].columns["er_mean"], [np.nan, 0.5, 0.25])
    for name in ("ratio", "er_mean", "sr_mean"):
        assert np.isnan(found["raw"].columns[name]).all() and np.isnan(found["vanilla"].columns[name]).all()
    assert np.isnan(found["er"].columns["sr_mean"]).all()


def test_a_picture_a_task_and_tolerance_with_strengths(tmp_path):
    spec = effects.from_tables(SPEC)
    assert strengths_picture.pictures(spec, tmp_path) == []
    ended(spec, tmp_path, [row(0), row(1), row(2)])
    drawn = strengths_picture.pictures(spec, tmp_path)
    assert [p.name for p in drawn] == ["strengths-d-tol0.01.png", "strengths-d-tol0.0001.png"]
    assert all(p.stat().st_size > 20_000 for p in drawn)


def lines(spec, out, name, log, variant="er"):
    """(x, y) of the lines and crosses that one variant is drawn as in one panel."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    mine = [strengths_picture.course(u, out / u.folder, False) for u in spec.groups[0] + spec.groups[4]]
    strengths_picture._lines(axes, [c for c in mine if c.variant == variant], name, 0, log)
    return [(line.get_marker(), *(np.asarray(x, dtype=float).tolist() for x in line.get_data())) for line in axes.lines]


def test_seeds_their_mean_and_where_a_run_diverged(tmp_path):
    spec = effects.from_tables(SPEC)
    ended(spec, tmp_path, [row(1, ratio=0.0), row(2, ratio=0.2), row(3, ratio=0.4)], "diverged")
    one, other = (tmp_path / group[0].folder / "log.jsonl" for group in (spec.groups[0], spec.groups[4]))
    assert one.parent.name == "tol0.01-s0" and other.parent.name == "tol0.01-s1"
    other.write_text("".join(json.dumps(r) + "\n" for r in (row(1, ratio=0.1), row(2, ratio=0.8))))
    cross_one, cross_other, first, second, mean = lines(spec, tmp_path, "ratio", True)
    assert cross_one == ("x", [3.0], [0.4]) and cross_other == ("x", [2.0], [0.8])
    # zero has no logarithm, and a mean needs all seeds
    np.testing.assert_array_equal(first[2], [np.nan, 0.2, 0.4])
    np.testing.assert_array_equal(second[2], [0.1, 0.8, np.nan])
    np.testing.assert_allclose(mean[2], [np.nan, 0.4, np.nan], rtol=1e-12)
    assert lines(spec, tmp_path, "work", False)[-1][2][:2] == [23.0, 23.0]
    assert lines(spec, tmp_path, "er_mean", True, "raw") == []


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        strengths_picture.picture([], tmp_path / "none.png", "none", ["vanilla"])
