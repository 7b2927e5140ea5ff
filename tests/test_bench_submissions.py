"""Submissions to the benchmark as people write them: files, names, misbehaving policies; frozen families by name."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import toy_bench

pytest.importorskip("torch")

from stepsmith.controllers.laws import registry
from stepsmith.integrators import problems
from stepsmith.integrators.problems import places
from stepsmith.train import bench
from stepsmith.train.bench import evaluation, protocol
from stepsmith.train.bench.instance_file import BenchError

#: files of the protocols and suites that ship
SHIPPED = tuple(protocol.FOLDER.glob("*.toml"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The small protocol, in the place of those that ship."""
    with pytest.MonkeyPatch.context() as patch:
        toy_bench.use(patch, toy_bench.freeze(tmp_path_factory.mktemp("frozen")))
        yield protocol.load("toy-v1")
    protocol.load.cache_clear()


def test_a_file_may_hold_a_dataclass_and_import_its_neighbours(toy, tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("GAIN = 0.0\n")
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom neighbour_of_mine import GAIN\n\n"
        "@dataclass\nclass Policy:\n    gain: float = GAIN\n\n    def __call__(self, obs):\n"
        "        return self.gain * obs[:, :2]\n\nact = Policy()\n"
    )
    assert bench.evaluate(f"{tmp_path}/mine.py:act", toy)["ratio"]["ratio"] == pytest.approx(1.0, abs=1e-9)


def test_actions_that_the_law_replaces_are_counted_and_said(toy):
    def half(obs):
        return np.where(obs[:, :1] > 0.0, np.nan, np.zeros((len(obs), 2)))

    with pytest.warns(UserWarning, match="half: .* % of its actions were not finite or left"):
        found = bench.evaluate(half, toy)
    assert 0.0 < found["replaced"] < 1.0
    with pytest.warns(UserWarning, match="policy: 100 % of its actions"):
        assert bench.evaluate(lambda obs: np.full((len(obs), 2), 1.5), toy)["replaced"] == 1.0
    assert bench.evaluate(lambda obs: np.ones((len(obs), 2)), toy)["replaced"] == 0.0
    assert bench.evaluate("pi34", toy)["replaced"] is None


def test_what_a_policy_raises_is_said(toy):
    def act(obs):
        raise KeyError("weights")

    with pytest.raises(BenchError, match=r"act raised KeyError for observations of shape \(\d+, 3\): 'weights'") as end:
        bench.evaluate(act, toy)
    assert isinstance(end.value.__cause__, KeyError)


def test_names_of_submissions_stay_in_their_folder_and_apart_from_the_protocols_rows(toy, tmp_path):
    law = registry.get("i")
    outside = type(law)("../../outside", law.kind, law.values, law.rules, law.doc, law.source)
    with pytest.raises(ValueError, match="name must be a name for a folder"):
        bench.submit("toy-v1", [outside], out=tmp_path / "out")
    with pytest.raises(BenchError, match="ppo is a row of toy-v1 itself"):
        bench.submit("toy-v1", ["i"], "ppo", tmp_path / "out")
    with pytest.raises(ValueError, match="submissions must be a list"):
        bench.submit("toy-v1", "i", "mine", tmp_path / "out")
    assert not list(tmp_path.rglob("*.json"))


def test_a_record_that_is_there_is_seen_before_anything_is_measured(toy, tmp_path):
    bench.submit("toy-v1", ["i"], "mine", tmp_path)

    def never(obs):
        raise AssertionError

    with pytest.raises(BenchError, match="is there already"):
        bench.submit("toy-v1", [never], "mine", tmp_path)


def test_a_table_says_which_rows_were_submitted(toy, tmp_path):
    bench.submit("toy-v1", ["i"], "mine", tmp_path)
    text, _ = bench.leaderboard(tmp_path, picture=False)
    assert "budget of their training is not known here: mine" in text


def test_numbered_instances_of_a_frozen_family_are_its_own(toy):
    few, many = toy.family.split("test", 2), toy.family.split("test", 3)
    assert np.array_equal(few.y0, many.y0[:2]) and np.array_equal(few.p, many.p[:2])


def test_frozen_families_are_found_by_name_in_a_new_process():
    code = "import stepsmith as ss; print(ss.problems.family('chaos-v1').split('test', 1).family)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "chaos-v1", ran.stderr


def test_all_protocols_that_ship_have_a_place():
    assert set(places.FROZEN) == {p.stem for p in SHIPPED if not p.read_text().count("\nprotocols = ")}
    assert not set(places.FROZEN) & set(problems._PLACES)


def test_an_instance_that_both_lose_is_lost_to_both(toy):
    runs, split = evaluation.base_runs(toy), evaluation.test_split(toy)
    ratio = evaluation.work_ratio(runs, runs, toy.family.error_levels, "work")
    first = int(split.ids[0])
    logs = np.where(split.ids == first, np.nan, ratio.log_ratio)
    both = dataclasses.replace(ratio, lost_by_both=(first,), log_ratio=logs)
    each = evaluation._figures(both, runs, split, toy)["instances"]
    assert [(v["lost"], v["lost_by_law"]) for v in each.values()].count((True, True)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["ratio"].update(ratio=0.1), lambda d: d["ratio"].update(ratio="x"), lambda d: d.update(ratio=3),
        lambda d: d["ratio"].update(ratio=None), lambda d: d.update(instances=None), lambda d: d.update(seed="0"),
        lambda d: d.update(training=None), lambda d: d.update(training={}), lambda d: d.update(versions=None),
        lambda d: d.update(training={"asked": 4096, "curve": [[1]]}), lambda d: d.update(digest=3),
    ],
)  # fmt: skip
def test_a_record_that_was_changed_by_hand_is_refused_by_its_file(toy, tmp_path, change):
    bench.submit("toy-v1", ["i"], "mine", tmp_path)
    path = tmp_path / "toy-v1" / "mine" / "s0" / "record.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(BenchError, match="record.json: damaged or changed by hand"):
        bench.leaderboard(tmp_path, picture=False)
