"""Training a controller on the fields that training runs met."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("cma")

import stepsmith as ss  # noqa: E402
from stepsmith.controllers.laws import registry  # noqa: E402
from stepsmith.controllers.learned.decision import Decision  # noqa: E402
from stepsmith.controllers.learned.network import Learned  # noqa: E402
from stepsmith.train.algorithms.evolution import Settings  # noqa: E402
from stepsmith.train.neural import fields, learn, loop  # noqa: E402
from stepsmith.train.neural.config import from_dict  # noqa: E402
from stepsmith.train.run.progress import Progress  # noqa: E402

TASK = {
    "name": "toy", "task": {"name": "digits", "hidden": 8}, "solver": {"tolerance": 1e-3},
    "train": {"epochs": 2, "batch": 256, "learning_rate": 0.02, "keep": [0, 2]},
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [str(loop.train(from_dict({**TASK, "seed": s}), out=root / str(s), progress=False)) for s in (0, 1)]


def config(folders, **changes):
    spec = {
        "train": folders[:1],
        "validation": folders[1:],
        "batch": 8,
        "warm": True,
        "even": True,
        "validate_every": 1,
    }
    data = {"name": "toy-field", "fields": spec, "policy": {"hidden": [4]}}
    data["train"] = {"generations": 3, "population": 4, "instances": 1, "redraw": 2}
    return {**data, **changes}


def test_a_network_of_zeros_has_the_base_laws_fitness(folders):
    law = registry.get("pi34")
    split = fields.FieldSplit(
        fields.FieldBand("toy"), "tsit5", 0, fields.instances(folders[0], "train", 8), True, True, whole=False
    )
    fitness = learn.FieldFitness(split, law, Settings(instances=2))
    fitness.draw(np.random.default_rng(0))
    assert len(fitness.drawn.instances) == 2
    assert fitness(Learned.random(Decision(law=law), (4,), scale=0.0, squash="clip")) == 0.0
    spent = fitness.attempts
    assert spent > 0
    # a law of a tenth of the safety takes many more steps at every error
    assert fitness(registry.get("pi34", safety=0.1)) > 0.2 and fitness.attempts > spent
    # and one that gives up at once is charged beyond the base law's work at every level
    assert fitness(registry.get("constant", h=1e-4)) >= fitness.settings.miss - 1e-9


def test_a_run_leaves_a_controller_and_goes_on_to_the_same(folders, tmp_path):
    from dataclasses import replace

    cfg = learn.from_dict(config(folders))
    whole = learn.learn(cfg, out=tmp_path / "whole", progress=False)
    found = ss.load_controller(whole)
    assert found.provenance["fields"]["train"] == folders[:1] and found.provenance["fields"]["warm"] is True
    assert found.measured["against"] == "pi34" and found.family == "toy-s0-tol0.001"
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [r["generation"] for r in rows] == [1, 2, 3] and found.measured["validation_ratio"] == min(
        r["validation"] for r in rows
    )
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["fields"]["law"] == "pi34"
    again = learn.learn(cfg, out=tmp_path / "again", progress=False)
    np.testing.assert_array_equal(ss.load_controller(again).weights, found.weights)
    other = learn.learn(cfg, seed=1, out=tmp_path / "other", progress=False)
    assert not np.array_equal(ss.load_controller(other).weights, found.weights)
    with pytest.raises(ValueError, match="already holds a run"):
        learn.learn(cfg, out=tmp_path / "whole", progress=False)
    with pytest.raises(ValueError, match="another config"):
        learn.learn(replace(cfg, seed=5), out=tmp_path / "whole", resume=True, progress=False)


def test_an_interrupted_run_goes_on_to_the_same(folders, tmp_path, monkeypatch):
    data = config(folders)
    data["fields"] |= {"warm": False, "validate_every": 9}
    data["train"] |= {"generations": 27, "population": 2}
    cfg = learn.from_dict(data)
    whole = learn.learn(cfg, out=tmp_path / "whole", progress=False)
    update, cut = Progress.update, tmp_path / "cut"

    def stop(self, done, **shown):
        if done == 26:
            raise KeyboardInterrupt
        update(self, done, **shown)

    monkeypatch.setattr(Progress, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        learn.learn(cfg, out=cut, progress=False)
    monkeypatch.undo()
    again = learn.learn(cfg, out=cut, resume=True, progress=False)
    rows = [
        [
            {k: v for k, v in json.loads(line).items() if k != "seconds"}
            for line in (f / "log.jsonl").read_text().splitlines()
        ]
        for f in (tmp_path / "whole", cut)
    ]
    assert [r["generation"] for r in rows[0]] == [9, 18, 27] and rows[0] == rows[1]
    np.testing.assert_array_equal(ss.load_controller(again).weights, ss.load_controller(whole).weights)


def test_an_alias_of_a_method_is_written_down_as_its_first_name():
    cfg = learn.from_dict({"name": "x", "fields": {"train": ["a"], "validation": ["b"], "method": "bosh3"}})
    assert cfg.fields.method == cfg.as_dict()["fields"]["method"] == "bs32"


def test_a_law_that_changed_on_the_way_is_refused(folders, tmp_path):
    from stepsmith.controllers.laws import tuned

    file = tmp_path / "law.json"
    data = config(folders)
    data["fields"] |= {"law": str(file)}
    data["train"] |= {"generations": 1}
    facts = {"family": "x", "method": "tsit5", "doc": ""}
    tuned.write(file, registry.get("pi34"), facts)
    learn.learn(learn.from_dict(data), out=tmp_path / "run", progress=False)
    tuned.write(file, registry.get("pi34", safety=0.8), facts)
    with pytest.raises(ValueError, match="not the law that the run was begun with"):
        learn.learn(learn.from_dict(data), out=tmp_path / "run", resume=True, progress=False)


def test_the_command_takes_it_and_the_solver_the_controller(folders, tmp_path):
    from typer.testing import CliRunner

    from stepsmith.train.cli import app

    text = (
        f'name = "toy-field"\n[fields]\ntrain = ["{folders[0]}"]\nvalidation = ["{folders[1]}"]\nbatch = 8\n'
        "[policy]\nhidden = [4]\n[train]\ngenerations = 1\npopulation = 4\ninstances = 1\n"
    )
    (tmp_path / "c.toml").write_text(text)
    done = CliRunner().invoke(app, ["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    file = tmp_path / "run" / "controller.safetensors"
    ode = ss.neural.NeuralODE(lambda t, y: -y, controller=str(file), warm_start=True, even_steps=True)
    import torch

    out = ode(torch.ones(2, 1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert out.solution.success and abs(float(out.y[-1, 0, 0]) - np.exp(-1)) < 1e-5
    shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "ppo"}, "by es alone"),
        ({"nonsense": 1}, "nonsense"),
        ({"fields": {"train": ["a"]}}, "validation is missing"),
        ({"fields": {"train": ["a"], "validation": ["./a"]}}, "a training and a validation run"),
        ({"fields": {"train": ["a"], "validation": []}}, "must name a run each"),
        ({"fields": {"train": ["a"], "validation": ["b"], "batch": 0}}, "batch must be a whole number of at least 1"),
        ({"fields": {"train": ["a"], "validation": ["b"], "wrm": True}}, "wrm"),
        ({"fields": {"train": "a", "validation": ["b"]}}, "must be a list"),
        ({"fields": {"train": ["a", "a"], "validation": ["b"]}}, "something twice"),
        ({"fields": {"train": ["a"], "validation": ["b"], "even": "yes"}}, "even must be True or False"),
        ({"fields": {"train": ["a"], "validation": ["b"], "method": "bosch3"}}, "did you mean 'bosh3'"),
        ({"train": {"reach": 1.0}}, "reach has no say"),
        ({"train": {"generations": 0}}, "generations must be a whole number of at least 1"),
    ],
)
def test_bad_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        learn.from_dict({"name": "x", "fields": {"train": ["a"], "validation": ["b"]}, **change})


def test_bad_runs_laws_and_features_leave_no_folder(folders, tmp_path):
    for fields_, message in (
        ({"train": [str(tmp_path)]}, "no run that keeps weights"),
        ({"law": "pi43"}, "unknown law 'pi43'"),
        ({"features": ["nonsense"]}, "nonsense"),
    ):
        data = config(folders)
        data["fields"] = {**data["fields"], **fields_}
        with pytest.raises(ValueError, match=message):
            learn.learn(learn.from_dict(data), out=tmp_path / "none", progress=False)
        assert not (tmp_path / "none").exists()
