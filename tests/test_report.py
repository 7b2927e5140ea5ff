import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from stepsmith.train.evaluate import curves, picture, report
from stepsmith.train.evaluate.headline import compare_runs
from stepsmith.train.evaluate.metric import Runs

TOL = np.geomspace(1e-2, 1e-9, 13)
PNG = b"\x89PNG\r\n\x1a\n"


def synthetic(n=120, wall=True):
    """Seventeen rows with scattered instances, and a controller that fails at tight tolerances."""
    rng = np.random.default_rng(2)
    hard = rng.normal(0, 0.6, (n, 1))

    def make(name, kind, cost, order=5.0, scatter=0.1, rejected=0.1):
        err = TOL * np.exp(hard + rng.normal(0, 0.25, (n, len(TOL))))
        nfev = np.round(40 * cost * np.exp(0.5 * hard + rng.normal(0, scatter, (n, 1))) * err ** (-1 / order))
        attempts = np.round(nfev / 6) + 1
        work = {"nfev": nfev}
        if wall:
            work["wall"] = nfev.sum(axis=0) * 1e-6
        return Runs(name, err, work, TOL, attempts, np.round(attempts * rejected), kind)

    rows = [
        make("mine", "learned", 0.66, rejected=0.02),
        make("tuned", "tuned", 0.95),
        make("scipy", "host", 1.4),
    ]
    rows += [make("constant", "constant", 2.2, 4.6, 0.3, 0.0)]
    laws = (
        "pi34",
        "pi42",
        "h211b",
        "h211pi",
        "h312b",
        "h312pid",
        "h321",
        "pc11",
        "h0211",
        "predictive",
        "pi33",
        "i",
    )
    rows += [make(name, "classical", 1.0 + 0.03 * k) for k, name in enumerate(laws)]
    some = np.arange(0, n, 10)
    oracle = make("oracle", "oracle", 0.45)
    rows.append(
        Runs("oracle", oracle.err[some], {"nfev": oracle.work["nfev"][some]}, kind="oracle", instances=some)
    )
    rows[3].err[:5, -4:] = np.inf
    return rows


def comparison(test=None, n=120, **kw):
    test = synthetic(n) if test is None else test
    levels = curves.error_levels(1e-3, 1e-7)
    kw = {"against": "tuned", **kw}
    return compare_runs(
        test,
        levels,
        family="three_body",
        method="tsit5",
        error="final state, relative",
        seed=7,
        ideal_slope=1.0,
        **kw,
    )


def text(c):
    console = Console(width=170, record=True, file=open("/dev/null", "w"))
    report.print_report(c, console)
    return console.export_text()


@pytest.fixture(scope="module")
def whole():
    return comparison()


def test_tables_name_the_error_the_denominator_and_every_row(whole):
    out = text(whole)
    assert "final state, relative" in out and "ratio to tuned" in out and "120 instances, seed 7" in out
    for r in whole.rows:
        assert r.name in out
    f = whole.row("mine").work["nfev"].figure
    assert f"{f.ratio:.2f} [{f.low:.2f}, {f.high:.2f}]" in out
    for column in (
        "f-evaluations",
        "weighted work",
        "clock, lanes",
        "one tol.",
        "loses on",
        "worst 1 %",
        "rejected",
        "slope",
    ):
        assert column in out
    assert "20 of 1560" in out  # failed runs of the constant step
    assert "denominator tuned" in out


def test_headline_says_gain_or_none_plainly(whole):
    assert report.headline_sentence(whole).startswith("mine against tuned at equal error: 0.")
    assert report.headline_sentence(whole).endswith("(cheaper)")
    both = whole.row("mine").work["nfev"].matched
    for figure in (both["gmean"], both["q90"]):
        assert f"{figure.ratio:.2f} [{figure.low:.2f}, {figure.high:.2f}]" in report.second_sentence(whole)
    assert report.second_sentence(whole) in text(whole)
    same = [r for r in synthetic(30) if r.name in ("tuned", "pi34")]
    same.append(Runs("mine", same[0].err, same[0].work, TOL, kind="learned"))
    assert report.headline_sentence(comparison(same)).endswith("(no measurable gain)")
    assert report.second_sentence(comparison(same[:2])) == ""
    assert "no learned controller" in report.headline_sentence(comparison(same[:2]))


@pytest.mark.parametrize("measure", ["nfev", "wall"])
def test_picture_is_drawn(whole, tmp_path, measure):
    path = picture.picture(whole, tmp_path / "a.png", measure)
    data = path.read_bytes()
    assert data.startswith(PNG) and len(data) > 40_000


def test_picture_keeps_everything_but_plain_laws_when_there_are_many(whole, tmp_path):
    names = [r.name for r in picture._shown(whole, "nfev")]
    assert len(names) == picture.MAX_SHOWN
    assert {"mine", "tuned", "scipy", "constant", "oracle"} <= set(names)
    svg = picture.picture(whole, tmp_path / "a.svg").read_text()
    assert svg.lstrip().startswith("<?xml")


def test_picture_of_the_smallest_comparison(tmp_path):
    e, w = TOL[None], TOL[None] ** -0.2 * 100
    one = comparison([Runs("tuned", e, {"nfev": w}, kind="tuned")])
    assert picture.picture(one, tmp_path / "one.png").read_bytes().startswith(PNG)
    with pytest.raises(ValueError, match="no controller was measured in 'wall'"):
        picture.picture(one, tmp_path / "wall.png", "wall")
    assert "tuned" in text(one)


def test_a_controller_whose_runs_all_failed_still_has_its_row(tmp_path):
    test = synthetic(30)[:3]
    test.append(
        Runs("broken", np.full((30, 13), np.inf), {"nfev": np.full((30, 13), 50.0)}, TOL, kind="classical")
    )
    c = comparison(test)
    assert "390 of 390" in text(c) and "not defined" in text(c)
    assert picture.picture(c, tmp_path / "b.png").stat().st_size > 40_000


def test_importing_the_picture_leaves_matplotlib_alone():
    code = "import stepsmith.train.evaluate.picture, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
