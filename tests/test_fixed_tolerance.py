"""The table at fixed tolerances: its figures on values whose answer is known, and the script as a whole."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parent.parent / "benchmarks" / "fixed_tolerance.py"
    spec = importlib.util.spec_from_file_location("fixed_tolerance", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_of_values_whose_answer_is_known(script):
    rng = np.random.default_rng(0)
    err, nfev = 10.0 ** rng.uniform(-6, -3, 60), rng.uniform(100.0, 1000.0, 60)
    kept = {
        "pi34": {"err": err, "nfev": nfev, "work": nfev},
        "swap": {"err": 2.0 * err, "nfev": 0.5 * nfev, "work": 0.5 * nfev},
        "noisy": {"err": err, "nfev": nfev, "work": nfev},
    }
    flat = np.full(5, 1.0)
    times = {"pi34": flat, "swap": 0.6 * flat, "noisy": np.array([0.9, 1.3, 1.0, 1.1, 0.8])}
    found = script.figures(kept, times, "pi34", np.random.default_rng(1))
    assert found["pi34"] == {k: [1.0, 1.0, 1.0] for k in ("nfev", "work", "time", "gmean", "q90")}
    # ratios that are the same on every instance have no width, and a resampled instance counts on both sides
    for what, expected in (("nfev", 0.5), ("work", 0.5), ("time", 0.6), ("gmean", 2.0), ("q90", 2.0)):
        np.testing.assert_allclose(found["swap"][what], expected, rtol=1e-12)
    # the noise of the rounds is in the interval of the time
    ratio, low, high = found["noisy"]["time"]
    assert ratio == 1.0 and low < 0.95 and high > 1.05


def test_the_script_writes_a_table_and_every_value(script, monkeypatch, tmp_path, capsys):
    asked = ["three_body=three-body", "--n", "6", "--n-validation", "6", "--rounds", "5", "--rtol", "1e-5"]
    monkeypatch.setattr(sys, "argv", ["fixed_tolerance.py", *asked, "--out", str(tmp_path / "f.json")])
    script.main()
    shown = capsys.readouterr().out
    told = json.loads((tmp_path / "f.json").read_text())
    (family,) = told["families"]
    (level,) = family["levels"]
    assert list(level["values"]) == ["pi34", "tuned", "swap", "unscaled"] and family["law"] == "pi34"
    assert family["tolerance_scale"] == family["set_by"]["scale"] != 1.0 and family["set_by"]["split"] == "validation"
    count = len(level["instances"])
    for k, values in level["values"].items():
        assert len(values["err"]) == len(values["nfev"]) == count and len(level["seconds"][k]) == 5
        assert f"| 1e-05 | {k} |" in shown
    swap, law = (np.array(level["values"][k]["nfev"]) for k in ("swap", "pi34"))
    assert level["to"]["pi34"]["swap"]["nfev"][0] == pytest.approx(np.exp(np.log(swap / law).mean()))
    assert f"`three-body` at {family['tolerance_scale']:.4g} times the tolerance" in shown


def test_what_cannot_be_compared_is_said(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fixed_tolerance.py", "chua:rodas5p=stiff", "--rtol", "1e-5", "--as-is"])
    script.main()
    assert "**chua**:" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["fixed_tolerance.py", "three_body"])
    with pytest.raises(SystemExit):
        script.main()
