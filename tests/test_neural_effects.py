"""The comparison of variants: runs in parts, only what is missing, statistics against formulas written out, files that
are refused.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from stepsmith.train.neural import effects, effects_picture, effects_table, loop  # noqa: E402
from stepsmith.train.neural.tasks import regulariser_of  # noqa: E402

SPEC = {
    "name": "tiny", "seeds": [0, 1], "tolerances": [1e-2], "baseline": "vanilla",
    "tasks": {"d": {"config": "neural_digits", "task": {"hidden": 4}, "train": {"epochs": 1, "batch": 2000}}},
    "variants": {
        "vanilla": {},
        "er": {"regulariser": {"name": "er_mean", "strength": {"kind": "constant", "value": 1.0}}},
    },
}  # fmt: skip


def test_a_comparison_runs_in_parts_and_only_what_is_missing(tmp_path, monkeypatch):
    spec = effects.from_tables(SPEC)
    assert [(u.seed, u.variant) for u in spec.units] == [(0, "vanilla"), (0, "er"), (1, "vanilla"), (1, "er")]
    assert len(effects.run(spec, tmp_path, (1, 2), progress=False)) == 2
    assert {r["seed"] for r in effects.collect(spec, tmp_path)} == {1}
    effects.run(spec, tmp_path, progress=False)

    def no_run(*args, **kwargs):
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(effects, "train", no_run)
    rows = effects.run(spec, tmp_path, progress=False)
    assert len(rows) == 4 and all(r["status"] == "finished" for r in rows)

    vanilla, er = effects_table.summary(spec, tmp_path)
    by = {(r["variant"], r["seed"]): r for r in rows}
    assert vanilla["difference"] is None and vanilla["nfe_ratio"] == 1.0
    assert er["mean"] == pytest.approx(np.mean([by["er", s]["test"] for s in (0, 1)]))
    assert er["spread"] == pytest.approx(np.std([by["er", s]["test"] for s in (0, 1)], ddof=1))
    assert (
        er["difference"] == pytest.approx(er["mean"] - vanilla["mean"]) and er["low"] <= er["difference"] <= er["high"]
    )
    assert er["training_nfe_ratio"] == pytest.approx(
        math.sqrt(math.prod(by["er", s]["field_calls"] / by["vanilla", s]["field_calls"] for s in (0, 1)))
    )
    drawn = effects_picture.picture([vanilla, er], tmp_path / "effects.png", "vanilla")
    assert drawn.stat().st_size > 10_000
    with pytest.raises(ValueError, match="nothing to draw"):
        effects_picture.picture([{**er, "seeds": []}], tmp_path / "none.png", "vanilla")
    text = effects_table.texts([vanilla, er])
    assert all(len(t) == len(effects_table.COLUMNS) for t in text) and "points" in text[1][5] and text[0][5] == ""
    with pytest.raises(ValueError, match="another config"):
        effects.collect(effects.from_tables(effects.merged(SPEC, {"tasks": {"d": {"train": {"epochs": 2}}}})), tmp_path)


def test_a_run_that_diverges_has_its_row(tmp_path):
    wild = {"train": {"optimiser": "momentum", "learning_rate": 1e308, "epochs": 2}}
    spec = effects.from_tables(effects.merged(SPEC, {"seeds": [0], "variants": {"er": wild}}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        effects.run(spec, tmp_path, progress=False)
    row = effects_table.summary(spec, tmp_path)[1]
    assert row["seeds"] == [] and row["diverged"] == [0]
    assert "1 diverged" in effects_table.texts([row])[0][3]


def test_bootstrap_against_the_normal_interval():
    rng = np.random.default_rng(3)
    base = rng.random(400)
    scores = base + 0.05 + 0.2 * rng.standard_normal(400)
    middle, low, high = effects_table.bootstrap(scores, base, relative=False)
    d = scores - base
    half = 1.96 * d.std() / math.sqrt(len(d))
    assert middle == pytest.approx(d.mean()) and low == pytest.approx(d.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(d.mean() + half, abs=0.05 * half)
    ratio = effects_table.bootstrap(1.1 * base, base, relative=True)
    np.testing.assert_allclose(ratio, 0.1)
    with pytest.raises(ValueError, match="paired rows"):
        effects_table.bootstrap(base, base[1:], relative=False)


def test_variants_of_some_tasks_and_settings_at_one():
    tasks = {"a": SPEC["tasks"]["d"], "b": SPEC["tasks"]["d"]}
    variants = {
        "vanilla": {},
        "er": {**SPEC["variants"]["er"], "only": ["b"], "at": {"b": {"solver": {"controller": "i"}}}},
    }
    spec = effects.from_tables({**SPEC, "tasks": tasks, "variants": variants, "seeds": [3]})
    assert [[(u.task, u.variant) for u in group] for group in spec.groups] == [
        [("a", "vanilla")],
        [("b", "vanilla"), ("b", "er")],
    ]
    assert [u.config.solver.controller for u in spec.units] == ["pi34", "pi34", "i"]
    assert all(u.config.seed == 3 and u.config.solver.tolerance == 1e-2 for u in spec.units)


def test_merging_tables():
    base = {"a": {"x": 1, "y": 2}, "strength": {"kind": "exponential", "l0": 1.0, "l1": 2.0}}
    assert effects.merged(base, {"a": {"y": 3}}) == {**base, "a": {"x": 1, "y": 3}}
    assert effects.merged(base, {"strength": {"l0": 5.0}})["strength"] == {"kind": "exponential", "l0": 5.0, "l1": 2.0}
    assert effects.merged(base, {"strength": {"kind": "constant", "value": 1.0}})["strength"] == {
        "kind": "constant",
        "value": 1.0,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seedz": [1]}, "did you mean 'seeds'"),
        ({"baseline": "none"}, "baseline variant"),
        ({"seeds": []}, "seeds is missing or empty"),
        ({"variants": {"er": {"at": {"mnist": {}}}}}, "task of variant 'er'"),
        ({"variants": {"er": {"only": ["dd"]}}}, "task of variant 'er'"),
        ({"tasks": {"d": {"config": "neural_digit"}}}, "did you mean 'neural_digits'"),
        ({"variants": {"er": {"solvr": {}}}}, "did you mean 'solver'"),
    ],
)
def test_bad_comparisons_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        effects.from_tables(effects.merged(SPEC, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regulariser": {"name": "er_men"}}, r"\[regulariser\] unknown regulariser 'er_men': did you mean 'er_mean'"),
        ({"regulariser": {"options": {"ovr": 1}}}, r"\[regulariser\] .*ovr"),
        ({"regulariser": {"plus": [{"name": "sr_mx"}]}}, r"\[regulariser\] unknown regulariser 'sr_mx'"),
        ({"regulariser": {"strength": {"kind": "constnt"}}}, r"\[regulariser\] strength: unknown strength 'constnt'"),
        ({"regulariser": {"strength": {"valu": 2.0}}}, r"\[regulariser\] strength: .*valu"),
        ({"solver": {"method": "tsit6"}}, r"\[solver\] .*tsit6.*tsit5"),
        ({"solver": {"controller": "pi43"}}, r"\[solver\] .*pi43.*did you mean"),
        ({"solver": {"adjoint": "discreet"}}, r"\[solver\] unknown adjoint 'discreet'"),
        (
            {"solver": {"options": {"maxsteps": 3}}},
            r"\[solver\] NeuralODE\(\) has no option 'maxsteps': did you mean 'max_steps'",
        ),
        ({"train": {"dtype": "float23"}}, "unknown dtype 'float23'"),
        ({"train": {"device": "cpuu"}}, r"\[train\] device 'cpuu'"),
        ({"task": {"hiden": 3}}, r"key in \[task\] 'hiden': did you mean 'hidden'"),
    ],
)
def test_a_typo_in_one_variant_is_named_before_any_run(change, message):
    with pytest.raises(ValueError, match=f"variant 'er', task 'd': .*{message}"):
        effects.from_tables(effects.merged(SPEC, {"variants": {"er": change}}))


def test_looking_names_up_leaves_the_generator_alone():
    before = torch.random.get_rng_state()
    effects.from_tables(SPEC)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_files(tmp_path):
    with pytest.raises(ValueError, match="no such comparison file"):
        effects.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ValueError, match="not a TOML file"):
        effects.load(tmp_path / "bad.toml")


@pytest.mark.parametrize("name", ["neural_effects.toml", "neural_effects_more.toml", "neural_recipe.toml"])
def test_shipped_files(name):
    shipped = effects.load(Path(__file__).parents[1] / "benchmarks" / name)
    tasks = {"mnist5k", "pbcseq"} | ({"mnist5k_whole"} if name == "neural_recipe.toml" else set())
    assert {u.task for u in shipped.units} == tasks and {u.seed for u in shipped.units} == {0, 1, 2}
    for unit in shipped.units[: len(shipped.groups[0]) + len(shipped.groups[1])]:
        if unit.config.regulariser is not None:
            regulariser_of(unit.config.regulariser)
            loop.schedule(unit.config, 100)


def test_a_variant_may_have_its_own_tolerance():
    changes = {
        "tolerances": [1e-2, 1e-4],
        "seeds": [0],
        "variants": {"er": {"tolerance": {"1e-2": 0.03, "1e-4": 3e-4}}},
    }
    spec = effects.from_tables(effects.merged(SPEC, changes))
    assert [(u.tolerance, u.config.solver.tolerance) for u in spec.units if u.variant == "er"] == [
        (1e-2, 0.03),
        (1e-4, 3e-4),
    ]
    assert [(u.tolerance, u.config.solver.tolerance) for u in spec.units if u.variant == "vanilla"] == [
        (1e-2, 1e-2),
        (1e-4, 1e-4),
    ]
    one = effects.from_tables(effects.merged(SPEC, {"variants": {"er": {"at": {"d": {"tolerance": 0.5}}}}}))
    assert {u.config.solver.tolerance for u in one.units if u.variant == "er"} == {0.5}
    for bad, message in (
        ({"1e-3": 1e-3}, "has no tolerance for 0.01; it has 1e-3"),
        ({"a": 1}, "must hold numbers"),
        (-1.0, "above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            effects.from_tables(effects.merged(SPEC, {"variants": {"er": {"tolerance": bad}}}))


def test_seeds_in_place_of_the_files(tmp_path):
    shipped = Path(__file__).parents[1] / "benchmarks" / "neural_effects.toml"
    assert {u.seed for u in effects.load(shipped, [7, 9]).units} == {7, 9}


def test_parts():
    assert effects.parse_part("1/3") == (1, 3)
    for bad in ("3", "a/2", "1/2/3", "-1/2"):
        with pytest.raises(ValueError, match="i/n"):
            effects.parse_part(bad)
    with pytest.raises(ValueError, match="0 <= i < n"):
        effects.run(effects.from_tables(SPEC), "nowhere", (2, 2))
