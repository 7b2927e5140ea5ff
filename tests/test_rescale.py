"""Setting a tolerance scale: known answers are found, failures are counted, and the file says how it was done."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stepsmith.controllers import file
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators import problems
from stepsmith.policies.tolerance_scale import matched_scale
from stepsmith.train.cli.program import main

FAMILY, METHOD, ORDER = "lotka_volterra", "tsit5", 5


def zero(law) -> Learned:
    """A network that always answers 0: the law."""
    return Learned.random(Decision(("log_err",), law), (3,), 0, 0.0)


@pytest.fixture(scope="module")
def cautious():
    """The I law with another unit of tolerance: at 4 r it accepts the errors, and takes the steps, of "i" at r."""
    accepts = 0.25
    safety = registry.get("i")["safety"] * accepts ** (1.0 / ORDER)
    return zero(registry.get("i", accept_err=accepts, safety=safety))


@pytest.mark.parametrize("tolerances", [(1e-4, 1e-6, 1e-8), (3e-5,)])
def test_a_law_in_another_unit_gets_its_unit_back(cautious, tolerances):
    found = matched_scale(cautious, FAMILY, METHOD, "i", tolerances, n=12)
    # all but the size of the first step is equal
    assert found.scale == pytest.approx(4.0, rel=0.03) and found.against == "i" and found.instances == 12
    for level in found.levels:
        assert level.used and level.law_failed == level.failed == 0
        assert level.mismatch == pytest.approx(1.0, abs=0.1) and level.before < 0.6 * level.law
    # a scale that is there already is left out
    again = matched_scale(cautious.replace(tolerance_scale=2.0), FAMILY, METHOD, "i", tolerances, n=12)
    assert again == found


def test_the_law_itself_keeps_its_tolerances():
    found = matched_scale(zero("pi34"), problems.family(FAMILY), METHOD, n=8, seed=3)
    assert found.scale == pytest.approx(1.0, abs=0.01) and found.against == "pi34" and found.seed == 3
    assert found == matched_scale(zero("pi34"), FAMILY, METHOD, registry.get("pi34"), n=8, seed=3)


def test_failures_and_inaccurate_references_are_said():
    # orbits that a loose tolerance does not survive, and a tolerance that says more of the references than of the law
    found = matched_scale("three-body", "three_body", "tsit5", tolerances=(1e-4, 1e-6, 1e-13), n=100)
    loose, middle, tight = found.levels
    assert loose.law_failed > 0 and loose.used and middle.used and not tight.used
    assert middle.law_failed == middle.failed == 0 and np.isfinite(loose.law) and np.isfinite(tight.after)
    told = found.facts()
    assert told["used"] == [True, True, False] and told["law_failed"][0] == loose.law_failed
    assert told["drawn"] == 100 and told["instances"] < 100
    with pytest.raises(ValueError, match="at no tolerance the errors of pi34 on three_body are 10 times"):
        matched_scale("three-body", "three_body", "tsit5", tolerances=(1e-13,), n=20)


def test_tails_that_do_not_match_are_warned_of(cautious):
    # the formula is far too loose on some instances and too tight on most: their mean says nothing of either
    with pytest.warns(UserWarning, match=r"at rtol \S+ the 90th percentile of the errors is \d+ times the law's"):
        found = matched_scale("kuramoto", "kuramoto", "dopri5", n=60)
    assert max(level.tail for level in found.levels) > 10.0
    assert all(0.2 < level.tail < 5.0 for level in matched_scale(cautious, FAMILY, METHOD, "i", n=12).levels)


def test_errors_that_do_not_follow_the_tolerance_have_no_scale():
    decision = Decision(("log_err",), registry.get("constant", h=0.02), n_act=1)
    steady = Learned.random(decision, (3,), 0, 0.0)
    with pytest.raises(ValueError, match="at no scale from 0.001 to 1000 the errors of controller and law agree"):
        matched_scale(steady, FAMILY, METHOD, tolerances=(1e-5,), n=4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tolerances": ()}, "at least one number"), ({"tolerances": (0.0,)}, "above 0"),
        ({"tolerances": (2.0,)}, "at most 1"), ({"n": 1}, "n must be"), ({"against": "pi43"}, "pi42|pi34"),
        ({"family": "lotka"}, "lotka_volterra"), ({"method": "tsit55"}, "tsit5"), ({"seed": -1}, "seed must be"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(cautious, options, message):
    with pytest.raises(ValueError, match=message):
        matched_scale(cautious, **{"family": FAMILY, "method": METHOD, "n": 2, **options})


def test_the_command_writes_a_file_that_says_how(cautious, tmp_path, capsys):
    source, out = file.save(cautious, tmp_path / "c.safetensors"), tmp_path / "d.safetensors"
    asked = ["rescale", str(source), "--family", FAMILY, "--method", METHOD, "--against", "i", "-t", "1e-4", "--n", "8"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "-o", str(out)])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    made = file.load(out)
    assert made.tolerance_scale == pytest.approx(4.0, rel=0.05)
    assert f"tolerance_scale {made.tolerance_scale:g}" in shown and str(out) in shown and "1e-04" in shown
    told = made.measured["tolerance_scale"]
    assert told["against"] == "i" and told["split"] == "validation" and told["tolerances"] == [1e-4]
    assert told["command"].startswith("stepsmith rescale") and "-t 0.0001" in told["command"] and "versions" in told
    assert np.array_equal(made.params, cautious.params)
    assert f"works at {made.tolerance_scale:.4g} times" in file.describe(made)
    with pytest.raises(SystemExit):
        main([*asked, "-o", str(out), "--json"])
    assert json.loads(capsys.readouterr().out)["scale"] == made.tolerance_scale


@pytest.mark.parametrize(
    "more, message", [([], "--family must name one"), (["--family", FAMILY, "--out", "x.bin"], "must end in")]
)
def test_the_command_refuses_what_it_cannot_do(cautious, more, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = file.save(cautious, tmp_path / "c.safetensors")
    with pytest.raises(SystemExit) as ended:
        main(["rescale", str(source), *more])
    assert ended.value.code == 2 and message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
