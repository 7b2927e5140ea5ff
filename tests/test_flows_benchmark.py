"""The benchmark of learned samplers, on a network of a second's training."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from stepsmith.train import flows


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[1] / "benchmarks" / "learned_schedules.py"
    spec = importlib.util.spec_from_file_location("learned_schedules", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    few = {"n_train": 64, "n_validate": 64}
    module.ROWS.update({"dp": ("dp", few), "bespoke": ("bespoke", {"iterations": 3, **few})})
    return module


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two run folders, of widths 8 and 6."""
    folder = tmp_path_factory.mktemp("models")
    configs = {w: flows.FlowConfig("checkerboard", width=w, layers=1, iterations=20) for w in (8, 6)}
    return [flows.train(config, folder / f"w{w}", progress=False) for w, config in configs.items()]


def call(bench, monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", ["learned_schedules.py", *map(str, args)])
    bench.main()
    return capsys.readouterr()


def test_rows_are_measured_once_and_told(bench, models, monkeypatch, capsys, tmp_path):
    out = tmp_path / "results.jsonl"
    args = (models[0], "--kinds", "dp", "bespoke", "--steps", 3, 8, "--seeds", 0, 1, "--out", out)
    first = call(bench, monkeypatch, capsys, *args, "--json")
    rows = json.loads(first.out)
    # AB2 twice, dp at both with two seeds, bespoke with two, which has no three evaluations
    assert len(rows) == 2 + 4 + 2 and len(first.err.splitlines()) == 6 == len(out.read_text().splitlines())
    again = call(bench, monkeypatch, capsys, *args)
    assert again.err == "" and "| bespoke |  | " in again.out and again.out.count("| AB2 |") == 1
    plain = next(row["error"] for row in rows if row["kind"] == "AB2" and row["steps"] == 8)
    mean = sum(row["error"] for row in rows if row["kind"] == "dp" and row["steps"] == 8) / 2
    line = next(line for line in again.out.splitlines() if line.startswith("| dp |"))
    assert f"| {mean / plain:.2f} |" in line and f"{mean:.2f} (" in line
    last = next(row for row in rows if row["kind"] == "dp" and row["steps"] == 8)
    one, equal = bench.Tested(str(models[0])), last["equal"]
    assert one.plain(equal) <= last["error"] < one.plain(equal - 1)


def test_schedules_are_tried_on_other_models(bench, models, monkeypatch, capsys, tmp_path):
    args = (models[0], "--kinds", "dp", "--steps", 4, "--seeds", 0, "--out", tmp_path / "r.jsonl")
    said = call(bench, monkeypatch, capsys, *args, "--transfer", models[1])
    assert "| w8 | dp, seed 0 | 4 | w6 | " in said.out
    row = json.loads((tmp_path / "r.jsonl").read_text())
    assert row["transfer"]["w6"][0] > 0.0 and row["transfer"]["w6"][1] > 0.0
