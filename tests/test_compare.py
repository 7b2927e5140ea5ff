"""`compare` as a whole: what stands in the table, and that its figures are what the runs say."""

import json
import math

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.laws import registry, tuned
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.problems.families import Family
from stepsmith.train.evaluate import contestants
from stepsmith.train.evaluate.metric import work_ratio
from stepsmith.train.evaluate.own_kernels import headline_kernels
from stepsmith.train.evaluate.splits import draw

FAMILY, METHOD = "lotka_volterra", "tsit5"
SIZES = {"n": 6, "n_validation": 4, "progress": False}
OBSERVED = ["log_err", "log_err_1"]


@pytest.fixture(scope="module", autouse=True)
def tuned_law(tmp_path_factory):
    """A tuned law for the family of these tests: they are about comparing."""
    folder = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setenv("STEPSMITH_DATA_DIR", str(folder))
    facts = {"family": FAMILY, "method": METHOD, "base": "pi34", "chosen": "x", "seed": 0, "commit": None}
    law = registry.get("pi34", safety=0.93)
    tuned.write(
        tuned.user_folder() / tuned.file_name(FAMILY, METHOD), law, {**facts, "budget": {"evaluations": 1, "solves": 2}}
    )
    yield law
    patch.undo()


def network(scale, seed, law="i", name="net"):
    return Learned.random(Decision(OBSERVED, law), hidden=(4,), rng=seed, scale=scale, name=name)


@pytest.fixture(scope="module")
def report():
    seeds = [network(0.0, 0), network(0.6, 1), network(0.6, 2)]
    return ss.compare(FAMILY, METHOD, [seeds], seed=4, repeats=1, **SIZES)


def test_everybody_stands_in_the_table(report):
    kinds = {r.name: r.kind for r in report.rows}
    assert set(registry.names("linear")) | {"tuned", "constant", "net"} == set(kinds)
    assert kinds["scipy"] == kinds["torchdiffeq"] == kinds["diffrax"] == "host"
    assert (
        kinds["pi34"] == "classical"
        and kinds["tuned"] == "tuned"
        and kinds["constant"] == "constant"
        and kinds["net"] == "learned"
    )


def test_the_object_is_the_one_promised(report):
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert {"family", "method", "error", "instances", "seed", "versions", "commit", "rows", "headline"} <= set(data)
    assert (data["family"], data["method"], data["error"], data["seed"], data["instances"]) == (
        FAMILY,
        METHOD,
        "grid",
        4,
        6,
    )
    for row in data["rows"]:
        assert {"name", "kind", "nfev", "work", "wall", "rejected_share", "failures", "slope"} <= set(row)
        assert row["nfev"] == row["work"]  # no linear algebra
        assert row["wall"]["ratio"] > 0
    head = data["headline"]
    assert head["controller"] == "net" and {"ratio", "low", "high"} <= set(head["nfev"])
    against = next(r for r in data["rows"] if r["name"] == head["against"])
    assert against["nfev"]["ratio"] == 1.0 and against["kind"] in ("tuned", "classical")


def test_no_law_beats_the_denominator(report):
    laws = [r for r in report.rows if r.kind in ("tuned", "classical")]
    assert min(r.work["nfev"].figure.ratio for r in laws) == 1.0
    assert min(report.validation.values()) <= 1.0 and report.validation.keys() == {r.name for r in laws}


def plain_curve(split, name, levels):
    """Log f-evaluations at the levels, (B, L), from single solves: an envelope and np.interp, by itself."""
    out = []
    for i in range(len(split.batch)):
        problem, points = split.batch[i], []
        times = problem.t_span[0] + split.family.fractions * (problem.t_span[1] - problem.t_span[0])
        for r in split.family.tolerances:
            sol = ss.solve(problem, METHOD, name, rtol=r, atol=r * split.family.atol_factor, t_eval=times)
            assert sol.success
            gap = np.linalg.norm(sol.y - split.ref[i], axis=1) / np.linalg.norm(split.ref[i], axis=1)
            points.append((gap.max(), sol.stats.nfev))
        points = [p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)]
        e, w = np.log(np.array(sorted(points))).T
        out.append(np.interp(np.log(levels), e, w, left=np.nan))
    return np.array(out)


def test_a_ratio_computed_another_way(report):
    split = draw(FAMILY, METHOD, "test", 6, 4)
    levels = split.family.error_levels
    a, b = plain_curve(split, "sundials_pid", levels), plain_curve(split, "i", levels)
    assert np.isfinite(a).all() and np.isfinite(b).all()  # the band is well inside
    rows = {r.name: r for r in report.rows}
    told = np.array(rows["sundials_pid"].work["nfev"].log_ratio) - np.array(rows["i"].work["nfev"].log_ratio)
    np.testing.assert_allclose(told, (a - b).mean(axis=1), atol=2e-3)


def test_a_network_that_says_nothing_is_its_law():
    r = ss.compare(FAMILY, METHOD, [network(0.0, 0)], seed=4, wall=False, **SIZES)
    rows = {row.name: row for row in r.rows}
    assert rows["net"].work["nfev"].figure == rows["i"].work["nfev"].figure
    assert rows["net"].work["wall"] is None and rows["net"].seeds is None
    assert rows["net"].rejected_share == rows["i"].rejected_share


def test_the_median_seed_stands_with_the_range(report):
    row = next(r for r in report.rows if r.name == "net")
    single = []
    for s in (network(0.0, 0), network(0.6, 1), network(0.6, 2)):
        split = draw(FAMILY, METHOD, "test", 6, 4)
        e = contestants.by_tolerance("net", "learned", s, split)
        single.append(e.runs(split, e.sweep(split)))
    base = next(r for r in report.comparison.runs if r.name == report.headline["against"])
    from stepsmith.train.evaluate.metric import work_ratio

    ratios = sorted(work_ratio(r, base, report.comparison.levels, intervals=False).figure.ratio for r in single)
    assert row.seeds == {"n": 3.0, "median": ratios[1], "low": ratios[0], "high": ratios[2]}
    assert row.work["nfev"].figure.ratio == pytest.approx(ratios[1], rel=1e-12)


def test_the_seed_draws_the_test_split(report):
    args = (FAMILY, METHOD, [network(0.6, 1)])
    one, two, other = (ss.compare(*args, seed=s, wall=False, **SIZES).to_json() for s in (5, 5, 6))
    assert {**one, "commit": None} == {**two, "commit": None}  # the checkout may move meanwhile
    assert one["rows"] != other["rows"] and one["validation"] == other["validation"]


def test_wall_clock_has_every_controller_once_a_round(report):
    for r in report.comparison.runs:
        assert r.work["wall"].shape == r.err.shape and (r.work["wall"] > 0).all()
        # one rate a tolerance
        rate = r.work["wall"] / r.work["nfev"]
        np.testing.assert_allclose(rate, rate[:1].repeat(len(rate), 0), rtol=1e-9)


def test_the_clock_is_for_laws_of_the_headline_in_kernels_of_their_own():
    split = draw(FAMILY, METHOD, "test", 4, 0)
    laws = [
        contestants.by_tolerance(name, "classical", registry.get(name), split) for name in ("pc47", "h0321", "h211b")
    ]
    table = [(e, e.sweep(split)) for e in laws]
    base, *others = (e.runs(split, s) for e, s in table)
    levels = split.family.error_levels
    rival = min([base, *others], key=lambda r: work_ratio(r, base, levels, intervals=False).figure.ratio).name
    own = {e.name: e.at(1e-3) for e, _ in headline_kernels(table, base, split)}
    for e in laws:
        law, shared = own[e.name], e.at(1e-3)
        assert np.array_equal(law.params, shared.params)
        assert (law.known != shared.known) == (e.name in (base.name, rival))
    again = contestants.by_tolerance(base.name, "classical", own[base.name], split).sweep(split)
    assert np.array_equal(again.nfev, base.work["nfev"]) and np.array_equal(again.err, base.err)


def test_without_controllers_the_zoo_is_asked(monkeypatch):
    assert contestants.from_zoo("three_body", "tsit5") == ["three-body", "three-body-formula"]
    assert contestants.from_zoo("three_body", "dopri5") == [] == contestants.from_zoo(FAMILY, METHOD)
    asked, said = contestants.invited(None, "three_body", "tsit5")
    assert asked == ["three-body", "three-body-formula"]
    assert "three-body, three-body-formula: the zoo's for three_body with tsit5" in said[0]
    assert contestants.invited((), "three_body", "tsit5") == ((), [])
    assert contestants.invited(None, "three_body", "tsit5", one=True)[0] == ["three-body"]  # as a suite asks
    monkeypatch.setattr(contestants, "from_zoo", lambda family, method: ["three-body"])
    args = {"seed": 4, "wall": False, **SIZES}
    data = ss.compare(FAMILY, METHOD, **args).to_json()
    assert data["headline"]["controller"] == "three-body"
    assert any("the zoo's for lotka_volterra" in note for note in data["headline"]["notes"])
    assert ss.compare(FAMILY, METHOD, (), **args).headline["controller"] is None


def test_references_that_fail_are_counted_and_not_redrawn(monkeypatch):
    honest = Family.reference

    def doubtful(self, batch):
        found = honest(self, batch)
        ok = found.ok.copy()
        ok[2] = False
        return found._replace(ok=ok)

    monkeypatch.setattr(Family, "reference", doubtful)
    r = ss.compare(FAMILY, METHOD, seed=4, wall=False, **SIZES)
    data = r.to_json()
    assert r.reference_failures == (2,) and data["reference_failures"] == [2]
    assert (data["drawn"], data["instances"]) == (6, 5)
    assert all(2 not in run.ids for run in r.comparison.runs)
    assert any("self-check on 2" in note for note in data["headline"]["notes"])


def test_the_constant_step_is_constant():
    split = draw(FAMILY, METHOD, "test", 3, 0)
    e = contestants.constant(split, np.array([[150.0, 600.0]] * 3))
    s = e.sweep(split)
    assert s.err.shape == (3, len(split.tolerances)) and not s.rejected.any()
    steps = np.abs(split.batch.t1 - split.batch.t0)[:, None] / e.knob
    # a step that ends on a rounding error before the end costs one more
    assert np.all(np.abs(s.attempts - np.ceil(steps - 1e-9)) <= 1)


def test_bodies_bring_their_criteria():
    names = {e.name for e in contestants.laws(draw("three_body", "hermite4", "test", 1, 0))}
    assert {"aarseth", "amuse", "pi34"} <= names
    assert {"amuse"} == {e.name for e in contestants.laws(draw("three_body", "leapfrog", "test", 1, 0))}
    assert not {"aarseth", "amuse"} & {e.name for e in contestants.laws(draw("three_body", "tsit5", "test", 1, 0))}


def test_table_and_picture(report, tmp_path):
    text = str(report)
    assert "net against" in text and "instances, seed 4" in text and "constant" in text
    path = report.plot(tmp_path / "new" / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_oracle_needs_less_than_any_law():
    r = ss.compare("three_body", "tsit5", seed=1, n=4, n_validation=2, wall=False, oracle=1, progress=False)
    rows = {row.name: row for row in r.rows}
    assert rows["oracle"].kind == "oracle"
    assert rows["oracle"].work["nfev"].figure.ratio < 0.9
    assert (
        rows["plan"].kind == "oracle"
        and rows["oracle"].work["nfev"].figure.ratio < rows["plan"].work["nfev"].figure.ratio < 1.0
    )
    assert math.isnan(rows["oracle"].rejected_share)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"family": "lorens"}, "did you mean 'lorenz'"),
        ({"method": "tsit6"}, "did you mean 'tsit5'"),
        ({"controllers": ["pi43"]}, "unknown controller 'pi43'"),
        ({"controllers": ["missing.safetensors"]}, "missing.safetensors"),
        ({"controllers": [3.5]}, "not a controller"),
        ({"controllers": [[]]}, "empty list"),
        ({"n": 0}, "n must be a whole number"),
        ({"seed": -1}, "seed"),
        ({"repeats": 0}, "repeats"),
        ({"headline": "nobody"}, "nobody"),
        ({"oracle": 1}, "final-state"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"n": True}, "n must be a whole number"),
        ({"n": 10**17}, "n must be a whole number"),
        ({"wall": "no"}, "wall must be True or False"),
        ({"max_steps": float("nan")}, "max_steps must be a whole number"),
        ({"family": ["lorenz"]}, "family must be a name"),
        ({"method": ["tsit5"]}, "method must be a name"),
        ({"controllers": 3.5}, "controllers must be"),
        ({"repeets": 2}, "did you mean .repeats."),
    ],
)
def test_bad_input(change, says):
    args = {"family": FAMILY, "method": METHOD, "wall": False, **SIZES, **change}
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        ss.compare(**args)
