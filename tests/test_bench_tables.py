"""Tables of records that are written by hand: the charge for lost instances is told, and one seed has no interval."""

import json
import math

import pytest

from stepsmith.train.bench import leaderboard, records

LAW_LOST = -math.log(10.0)  # the law is charged ten times the work of a submission that reaches what it does not


def put(folder, row, seed, instances):
    logs = [v["log_ratio"] for v in instances.values()]
    record = {
        "schema": 1, "protocol": "by-hand-v1", "digest": "0" * 64, "row": row, "seed": seed, "submission": {},
        "ratio": {"ratio": math.exp(sum(logs) / len(logs)), "low": 0.5, "high": 1.5}, "instances": instances,
        "versions": {}, "no_reference": [],
    }  # fmt: skip
    path = folder / "by-hand-v1" / row / f"s{seed}" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    return record


def instances(dearer, by_law=True):
    """Nine instances that cost `dearer` times the law's work, and one that the law loses."""
    each = {f"by-hand-v1/{i}": {"log_ratio": math.log(dearer), "lost": False, "lost_by_law": False} for i in range(9)}
    last = {"log_ratio": LAW_LOST if by_law else math.log(dearer), "lost": False, "lost_by_law": by_law}
    return {**each, "by-hand-v1/9": last}


def test_a_charge_of_the_law_is_told_beside_the_figure(tmp_path):
    record = put(tmp_path, "mine", 0, instances(1.02))
    assert record["ratio"]["ratio"] < 1.0  # cheaper by one instance alone, on which the law fails
    assert records.uncharged(record) == (pytest.approx(1.02), 0, 1)
    text, files = leaderboard(tmp_path, picture=False)
    assert "\n| mine | 1.020 (0, 1) |" in text
    assert json.loads(files[1].read_text())["rows"]["mine"]["uncharged"]["by-hand-v1"] == [pytest.approx(1.02)]


def test_nothing_is_left_without_charges(tmp_path):
    each = {"by-hand-v1/0": {"log_ratio": LAW_LOST, "lost": False, "lost_by_law": True}}
    assert math.isnan(records.uncharged(put(tmp_path, "mine", 0, each))[0])
    text, files = leaderboard(tmp_path, picture=False)
    assert "\n| mine | none left (0, 1) |" in text
    assert json.loads(files[1].read_text())["rows"]["mine"]["uncharged"]["by-hand-v1"] == [None]


def test_one_seed_has_no_interval(tmp_path):
    put(tmp_path, "mine", 0, instances(0.9, by_law=False))
    text, files = leaderboard(tmp_path)
    assert "\n| mine | 0.900 | 0.900 | 0.900 | 0.000 | 1.000 |" in text and "too few for intervals" in text
    assert json.loads(files[1].read_text())["rows"]["mine"]["aggregates"]["iqm"]["low"] is None
    put(tmp_path, "mine", 1, instances(1.1, by_law=False))
    text, _ = leaderboard(tmp_path)
    assert "\n| mine | 1.000 [0.900, 1.100] |" in text and "95 % intervals over seeds" in text
