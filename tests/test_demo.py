"""The demo: a quick run end to end, its files, its JSON, and comparisons on a trained field against SciPy and
torchdiffeq.
"""

import json

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from stepsmith.controllers.file import load_controller, save
from stepsmith.controllers.laws import registry, tuned
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.train.cli import demo as module
from stepsmith.train.cli.demo_report import chosen, exact_rows, sentences
from stepsmith.train.neural import trained_field
from stepsmith.train.neural.digits_field import digits_demo

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained():
    return digits_demo(epochs=3, hidden=32)


@pytest.fixture(scope="module")
def net():
    return Learned.random(Decision(), hidden=(8,), rng=0, scale=0.3, name="net")


@pytest.fixture(scope="module")
def comparison(trained, net):
    law = registry.get("i", safety=0.95)
    return trained_field.compare_on_field(
        trained,
        {"first": net, "second": net},
        law,
        n=12,
        n_validation=8,
        n_torchdiffeq=2,
        repeats=1,
        seed=3,
        progress=False,
    )


def test_reference_is_scipys(trained):
    y0 = trained.y0[:3]
    ours = trained_field.reference(trained.field, y0)
    w = trained.weights()
    for start, end in zip(y0.numpy(), ours, strict=True):
        theirs = solve_ivp(
            lambda t, y: w["W2"] @ np.tanh(w["W1"] @ y + w["b1"]) + w["b2"],
            (0, 1),
            start,
            "DOP853",
            rtol=1e-12,
            atol=1e-13,
        ).y[:, -1]
        np.testing.assert_allclose(end, theirs, rtol=1e-10, atol=1e-11)


def test_levels_are_reached(trained):
    y0 = trained.y0[:20]
    runs = trained_field.run(
        trained.field, y0, trained_field.reference(trained.field, y0), registry.get("i"), "i", "classical"
    )
    assert (runs.err[:, 0] > trained_field.LEVELS[0]).all() and (runs.err[:, -1] < trained_field.LEVELS[0]).all()
    assert runs.failures == 0 and (np.diff(runs.work["nfev"].sum(axis=0)) >= 0).all()
    assert len(trained_field.TOLERANCES) >= 12


def test_torchdiffeq_itself_and_its_law_here_agree(trained):
    y0 = trained.y0[:3]
    ref = trained_field.reference(trained.field, y0)
    itself = trained_field.torchdiffeq_itself(trained.field, y0, ref)
    here = trained_field.run(trained.field, y0, ref, registry.get("torchdiffeq"), "torchdiffeq", "host", "dopri5")
    ratio = here.work["nfev"].sum() / itself.work["nfev"].sum()
    assert 0.9 < ratio < 1.15
    # both are accurate to within what a tolerance means, run by run
    assert (itself.err < 10 * itself.tol).all() and (here.err < 10 * here.tol).all()


def test_comparison_on_the_field(comparison):
    c = comparison
    names = {r.name for r in c.rows}
    assert {"first", "second", "tuned", "pi34", "torchdiffeq", trained_field.ITSELF} <= names
    assert c.instances == 12 and c.controller == "first" and c.error == "final state"
    assert c.row(c.against).kind in ("tuned", "classical") and c.row(c.against).work["nfev"].figure.ratio == 1.0
    one, two = (c.row(k).work["nfev"].figure.ratio for k in ("first", "second"))
    assert one == two  # the same network twice
    assert c.row("first").work["wall"] is not None and c.row(trained_field.ITSELF).work["wall"] is None
    assert any("its law in this engine" in note for note in c.notes)
    json.dumps(c.to_json(), allow_nan=False)


def test_what_the_terminal_shows(comparison):
    shown = [r.name for r in chosen(comparison)]
    assert {"first", "second", "tuned", comparison.against, "torchdiffeq"} <= set(shown) and len(shown) < len(
        comparison.rows
    )
    ratios = [r.work["nfev"].figure.ratio for r in chosen(comparison)]
    assert ratios == sorted(ratios)
    said = sentences(comparison)
    assert len(said) == 2 and said[0].startswith("first against") and said[1].startswith("second against")
    text = exact_rows(comparison)
    assert all(r.name in text for r in comparison.rows) and max(map(len, text.splitlines())) <= 200


@pytest.mark.parametrize("sizes", [{"n": 1}, {"n": 400, "n_validation": 100}, {"n_validation": 0}])
def test_sizes_that_do_not_fit(trained, net, sizes):
    with pytest.raises(ValueError, match="held-out images"):
        trained_field.compare_on_field(trained, {"net": net}, registry.get("i"), progress=False, **sizes)


@pytest.fixture(scope="module")
def quick(tmp_path_factory, net):
    """The quick demo, run twice into one folder: (folder, results, standard outputs)."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPSMITH_DATA_DIR", str(folder / "data"))
        for family, law in (("three_body", "predictive"), ("neural_field", "i")):
            budget = {"evaluations": 1, "solves": 1}
            facts = {
                "family": family,
                "method": "tsit5",
                "base": law,
                "chosen": law,
                "budget": budget,
                "seed": 0,
                "commit": None,
            }
            tuned.write(tuned.user_folder() / tuned.file_name(family, "tsit5"), registry.get(law, safety=0.85), facts)
        file = save(net, folder / "net.safetensors")
        results, texts = [], []
        for as_json in (False, True):
            with contextlib.redirect_stdout(io.StringIO()) as text:
                results.append(
                    module.demo(1, folder / "out", as_json, True, three_body=str(file), neural_field=str(file))
                )
            texts.append(text.getvalue())
        return folder / "out", results, texts


def test_quick_demo_writes_what_it_says(quick):
    folder, (result, _), (text, _) = quick
    for path in (result["controller"], *result["pictures"].values()):
        assert path in text.replace("\n", "") and (folder / path).exists()
    assert all((folder / f"{stem}.txt").read_text() for stem in ("three_body", "digits_field"))
    assert load_controller(result["controller"]).name == "trained-live"
    for key, live in (("three_body", "trained live"), ("field", "trained live (orbits)")):
        assert {r["name"] for r in result[key]["rows"]} >= {"tuned", "pi34", live}
        assert result["sentences"][key][0][:40] in text
    assert [len(result["sentences"][key]) for key in ("three_body", "field", "torchdiffeq")] == [3, 2, 4]
    first, same = result["torchdiffeq"][:2]
    ratio = f"{same['evaluations'] / first['evaluations']:.2f} of the f-evaluations"
    assert ratio in result["sentences"]["torchdiffeq"][0] and ratio in text
    assert result["three_body"]["headline"]["controller"] == "trained live"
    assert result["field"]["headline"]["controller"] == "neural-field"
    assert result["solve"]["nfev"] > 0 and result["solve"]["energy_drift"] < 1e-2


def test_quick_demo_is_reproducible_and_json_stands_alone(quick):
    folder, (first, second), (_, text) = quick
    assert json.loads(text) == json.loads((folder / "demo.json").read_text()) == json.loads(json.dumps(second))
    for key in ("three_body", "field"):
        nfev = [{r["name"]: r["nfev"] for r in result[key]["rows"]} for result in (first, second)]
        assert nfev[0] == nfev[1]
    assert first["solve"] == second["solve"]


def test_what_is_missing_is_said_before_training(tmp_path, net, monkeypatch):
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(tuned, "SHIPPED", tmp_path / "nothing")
    monkeypatch.setattr(module, "_train", lambda *_: pytest.fail("it trained"))
    file = str(save(net, tmp_path / "net.safetensors"))
    with pytest.raises(ValueError, match="no tuned law for family 'neural_field'.*stepsmith tune neural_field"):
        module.demo(out=tmp_path / "out", quick=True, three_body=file, neural_field=file)
    with pytest.raises(ValueError, match="three_bdy"):
        module.demo(out=tmp_path / "out", quick=True, three_body="three_bdy", neural_field=file)
    with pytest.raises(ValueError, match="seed must be"):
        module.demo(seed=-1, out=tmp_path / "out", quick=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    keep = tmp_path / "run" / "thesis.tex"
    keep.write_text("x")
    with pytest.raises((ValueError, RuntimeError)):
        module._train(tmp_path / "run", 0, module.dataclasses.replace(module.QUICK, train={"num_envs": -1}))
    assert keep.read_text() == "x"
