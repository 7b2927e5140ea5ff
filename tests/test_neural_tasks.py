"""Training neural differential equations: the loop, resumption, divergence, configs."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from stepsmith.train.config import config as configs  # noqa: E402
from stepsmith.train.neural import effects, loop, tasks  # noqa: E402
from stepsmith.train.neural.config import NeuralConfig, from_dict  # noqa: E402
from stepsmith.train.neural.folder import NeuralRun  # noqa: E402
from stepsmith.train.run.run import train  # noqa: E402

DIGITS = {
    "name": "toy", "task": {"name": "digits", "hidden": 8}, "solver": {"tolerance": 1e-3},
    "train": {"epochs": 2, "batch": 512, "learning_rate": 0.01},
}  # fmt: skip


def config(**changes) -> NeuralConfig:
    return from_dict(effects.merged(DIGITS, changes))


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def without_clock(rows):
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in rows]


# -- the loop -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    changes = {
        "train": {"epochs": 4},
        "regulariser": {"name": "er_mean", "strength": {"kind": "exponential", "l0": 10.0, "l1": 1.0}},
    }
    return config(**changes), loop.train(
        config(**changes), out=tmp_path_factory.mktemp("runs") / "whole", progress=False
    )


def test_a_run_learns_and_says_what_it_did(unbroken):
    cfg, folder = unbroken
    rows = rows_of(folder)
    assert [r["epoch"] for r in rows] == [0, 1, 2, 3, 4]
    assert rows[0]["loss"] is None and rows[-1]["loss"] < 0.8 * rows[1]["loss"]
    assert rows[-1]["test"] > rows[0]["test"] + 0.2
    assert [r["iteration"] for r in rows] == [0, 3, 6, 9, 12]
    # three solves an epoch, Tsit5: two evaluations for slope and size at the start, then six a step; a replay has one
    # at the start, if there is one
    for row in rows[1:]:
        assert row["nfev"] == pytest.approx(2 + 6 * (row["naccept"] + row["nreject"]))
        assert row["nfev_replay"] == 0 or row["nfev_replay"] == pytest.approx(1 + 6 * row["naccept"])
        assert row["penalty"] > 0
    spent = np.cumsum([3 * (r["nfev"] + r["nfev_replay"]) for r in rows[1:]])
    np.testing.assert_allclose([r["field_calls"] for r in rows[1:]], spent)
    strengths = [10 * 0.1 ** (k / 12) for k in range(12)]
    np.testing.assert_allclose([r["strength"] for r in rows[1:]], np.mean(np.reshape(strengths, (4, 3)), axis=1))
    assert json.loads((folder / "state.json").read_text())["status"] == "finished"
    assert from_dict(json.loads((folder / "config.json").read_text())) == cfg
    assert len((folder / "log.csv").read_text().splitlines()) == 6
    assert (folder / "training.png").stat().st_size > 10_000 and list((folder / "tensorboard").glob("events*"))
    with np.load(folder / "scores.npz") as file:
        assert (
            file["scores"].mean() == pytest.approx(rows[-1]["test"]) and len(file["rows"]) == len(file["scores"]) == 450
        )


@pytest.mark.parametrize("at", [2, 8])
def test_an_interrupted_run_goes_on_to_the_same_numbers(unbroken, at, tmp_path, monkeypatch):
    cfg, whole = unbroken
    real, taken = loop._Training._step, []

    def interrupted(self, rows):
        taken.append(1)
        if len(taken) == at:  # in the middle of the first, of the third epoch
            raise KeyboardInterrupt
        real(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.train(cfg, out=tmp_path / "r", progress=False)
    with (tmp_path / "r" / "log.jsonl").open("a") as f:
        f.write('{"epoch": 9, "lo')  # a line cut short
    loop.train(cfg, out=tmp_path / "r", resume=True, progress=False)
    assert without_clock(rows_of(tmp_path / "r")) == without_clock(rows_of(whole))
    assert (tmp_path / "r" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_folders_are_not_mixed_up(unbroken, tmp_path):
    cfg, whole = unbroken
    with pytest.raises(ValueError, match="already holds a run"):
        loop.train(cfg, out=whole, progress=False)
    with pytest.raises(ValueError, match="another config"):
        loop.train(config(), out=whole, resume=True, progress=False)
    with pytest.raises(ValueError, match="no run to resume"):
        loop.train(cfg, out=tmp_path / "none", resume=True, progress=False)


def test_evaluations_every_other_epoch_and_at_the_end(unbroken, tmp_path):
    cfg, whole = unbroken
    data = effects.merged(cfg.as_dict(), {"train": {"evaluate_every": 3}})
    rows = rows_of(loop.train(from_dict(data), out=tmp_path / "r", progress=True))
    assert [r["epoch"] for r in rows] == [0, 3, 4]
    every = rows_of(whole)
    assert rows[1]["loss"] == pytest.approx(np.mean([r["loss"] for r in every[1:4]]))
    assert rows[-1]["test"] == every[-1]["test"] and rows[-1]["field_calls"] == every[-1]["field_calls"]


def test_weights_are_kept_where_the_config_says(unbroken, tmp_path):
    from safetensors.torch import load_file

    cfg, whole = unbroken
    data = effects.merged(cfg.as_dict(), {"train": {"keep": [0, 3, 4]}})
    folder = loop.train(from_dict(data), out=tmp_path / "r", progress=False)
    assert sorted(p.name for p in (folder / "weights").iterdir()) == [
        "00000.safetensors",
        "00003.safetensors",
        "00004.safetensors",
    ]
    # keeping them changes nothing, the last are the model, the first those that the seed gives
    assert (folder / "weights" / "00004.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    first, fresh = load_file(folder / "weights" / "00000.safetensors"), tasks.build(cfg).model.state_dict()
    assert first.keys() == fresh.keys() and all(torch.equal(first[k], fresh[k]) for k in fresh)
    with pytest.raises(ValueError, match=r"\[train\] keep must be a list of epochs from 0 to 2, got \[3\]"):
        config(train={"keep": [3]})


@pytest.mark.parametrize("solver", [{"warm_start": True}, {"options": {"steps": "auto"}}])
def test_a_warm_start_goes_on_where_the_run_was_interrupted(solver, tmp_path):
    cfg = config(solver=solver, train={"epochs": 4, "batch": 256})
    whole = loop.train(cfg, out=tmp_path / "whole", progress=False)
    cold = loop.train(config(train={"epochs": 4, "batch": 256}), out=tmp_path / "cold", progress=False)
    stop = loop._Training._train_epoch

    def interrupted(self):
        if self.epoch == 2:
            raise KeyboardInterrupt
        stop(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Training, "_train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.train(cfg, out=tmp_path / "r", progress=False)
    loop.train(cfg, out=tmp_path / "r", resume=True, progress=False)
    assert without_clock(rows_of(tmp_path / "r")) == without_clock(rows_of(whole))
    assert rows_of(whole)[-1]["nfev"] < rows_of(cold)[-1]["nfev"]
    with pytest.raises(ValueError, match="warm_start must be True or False"):
        config(solver={"warm_start": 1})


def test_decay_divides_gradients(tmp_path):
    cfg = config(train={"optimiser": "momentum", "momentum": 0.0, "learning_rate": 0.1, "decay": 0.5})
    training = loop._Training(cfg, tmp_path / "r", False)
    parameter = training.task.head.bias
    rows = training.rows[:64]
    for k in range(2):
        prediction, _ = training.task.solve(rows, None)
        (slope,) = torch.autograd.grad(training.task.loss(prediction, rows, 0), parameter)
        before = parameter.detach().clone()
        training._step(rows)
        training.iteration += 1
        torch.testing.assert_close(parameter.detach(), before - 0.1 * slope / (1 + 0.5 * (k + 1)))


def test_the_cosine_schedule(tmp_path):
    cfg = config(
        train={"optimiser": "momentum", "momentum": 0.0, "learning_rate": 0.1, "schedule": "cosine", "epochs": 4}
    )
    training = loop._Training(cfg, tmp_path / "r", False)
    training.iteration = 6  # half way through 4 epochs of 3 iterations
    training._step(training.rows[:32])
    assert training.optimiser.param_groups[0]["lr"] == pytest.approx(0.05)


def test_per_sample_steps_and_float32(tmp_path):
    cfg = config(solver={"per_sample": True}, train={"epochs": 1, "dtype": "float32"})
    last = rows_of(loop.train(cfg, out=tmp_path / "r", progress=False))[-1]
    assert last["nfev_replay"] == 0 and last["field_calls"] == pytest.approx(3 * last["nfev"])
    assert last["naccept"] > 512 and last["nfev"] < 200
    from safetensors.torch import load_file

    assert all(v.dtype == torch.float32 for v in load_file(tmp_path / "r" / "model.safetensors").values())


def test_divergence_ends_in_one_line_with_the_state_saved(tmp_path):
    cfg = config(train={"optimiser": "momentum", "learning_rate": 1e308, "epochs": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(loop.Diverged, match=r"toy, seed 0, after [12] iterations: .*holds the state after epoch 0"):
            loop.train(cfg, out=tmp_path / "r", progress=False)
    state = json.loads((tmp_path / "r" / "state.json").read_text())
    assert state["status"] == "diverged" and state["epoch"] == 0
    saved = torch.load(tmp_path / "r" / "checkpoint.pt", weights_only=True)
    assert all(torch.isfinite(v).all() for v in saved["model"].values())


@pytest.mark.parametrize("what", ["loss", "solve"])
def test_what_counts_as_divergence(what, tmp_path, monkeypatch):
    training = loop._Training(
        config(solver={"options": {"max_steps": 1}} if what == "solve" else {}), tmp_path / "r", False
    )
    if what == "loss":
        monkeypatch.setattr(training.task, "loss", lambda prediction, rows, epoch: prediction.sum() * math.nan)
    with pytest.raises(loop.Diverged, match="the loss is nan" if what == "loss" else "a solve failed: .*step"):
        training._step(training.rows[:8])


def test_evaluation_draws_nothing_and_pays_nothing():
    task = tasks.build(config(regulariser={"name": "er_sum"}))
    rows = task.split.test[:40]
    first, counts = loop.evaluate(task, rows, 16)
    state = torch.random.get_rng_state()
    again, _ = loop.evaluate(task, rows, 16)
    assert np.array_equal(first, again) and torch.equal(state, torch.random.get_rng_state())
    assert task.model.training and counts["nfev"] == 2 + 6 * (counts["naccept"] + counts["nreject"])
    assert all(p.grad is None for p in task.model.parameters())


@pytest.mark.parametrize("name", ["er2_sum", "sr_max", "local_biased", "steer", "rnode", "taylor2"])
def test_regularisers_reach_the_weights(name, tmp_path):
    regulariser = {
        "name": name,
        "strength": {"kind": "constant", "value": 1e3},
        "options": {"b": 0.3} if name == "steer" else {},
    }
    steps = []
    for given in ({}, {"regulariser": regulariser}):
        training = loop._Training(config(train={"optimiser": "momentum"}, **given), tmp_path / f"r{len(steps)}", False)
        training._step(training.rows[:32])
        steps.append(training.task.field.inner.weight.detach())
    assert torch.isfinite(steps[1]).all() and not torch.allclose(*steps, rtol=1e-9, atol=0)


def test_terms_add_up(tmp_path):
    found = {}
    for key, spec in {
        "er": {"name": "er_mean"}, "sr": {"name": "sr_max"},
        "both": {"name": "er_mean", "plus": [{"name": "sr_max", "weight": 0.25}]},
    }.items():  # fmt: skip
        training = loop._Training(config(regulariser=spec), tmp_path / key, False)
        training._step(training.rows[:32])
        found[key] = training.tally["penalty"]
    assert found["both"] == pytest.approx(found["er"] + 0.25 * found["sr"])


# -- configs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": {"name": "mnist"}}, "unknown task 'mnist': did you mean 'mnist5k'"),
        ({"solver": {"tolerence": 1e-3}}, r"key in \[solver\] 'tolerence': did you mean 'tolerance'"),
        ({"solver": {"tolerance": 0.0}}, "tolerance must be a finite number above 0"),
        ({"solver": {"tolerance": math.nan}}, "tolerance must be a finite number above 0"),
        ({"train": {"epochs": 0}}, "epochs must be a whole number"),
        ({"train": {"epochs": True}}, "epochs must be a whole number"),
        ({"train": {"optimiser": "adm"}}, "did you mean 'adam'"),
        ({"train": {"schedule": "cos"}}, "did you mean 'cosine'"),
        ({"train": {"dtype": "float16"}}, "unknown dtype"),
        ({"regulariser": {"strength": {"kind": "constant", "value": 1.0}}}, "must have name"),
        ({"regulariser": {"name": "er_mean", "plus": [{"weight": 2}]}}, "every term of plus must have a name"),
        ({"regulariser": {"name": "er_mean", "plus": [{"nam": "sr_max"}]}}, "key of a term"),
        ({"train": 3}, r"\[train\] must be a table"),
        ({"seed": -1}, "seed must be"),
        ({"extra": 1}, "unknown key of the config"),
    ],
)
def test_bad_configs_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        config(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": {"width": 3}}, r"key in \[task\] 'width'"),
        ({"task": {"hidden": 2.5}}, "hidden must be a whole number"),
        ({"solver": {"controller": "pi43"}}, "pi4"),
        ({"regulariser": {"name": "er_men"}}, "did you mean 'er_mean'"),
        ({"regulariser": {"name": "er_mean", "strength": {"l0": 1.0}}}, "strength must have a kind"),
        ({"regulariser": {"name": "er_mean", "strength": {"kind": "expo", "l0": 1.0}}}, "unknown strength"),
    ],
)
def test_bad_settings_leave_no_folder(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        loop.train(config(**change), out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_shipped_configs_and_the_train_command(tmp_path):
    shipped = sorted(p.stem for p in (Path(configs.__file__).parents[1] / "configs").glob("neural_*.toml"))
    found = {n: from_dict(configs.read(n)) for n in shipped if "task" in configs.read(n)}
    assert {c.task["name"] for c in found.values()} == set(tasks._TASKS)
    file = tmp_path / "toy.toml"
    file.write_text(
        'name = "toy"\n[task]\nname = "digits"\nhidden = 4\n[solver]\ntolerance = 1e-2\n[train]\nepochs = 1\n'
    )
    folder = train(file, seed=5, out=tmp_path / "r", progress=False)
    assert json.loads((Path(folder) / "config.json").read_text())["seed"] == 5
    file.write_text(file.read_text().replace("hidden", "hiden"))
    with pytest.raises(ValueError, match="did you mean 'hidden'"):
        train(file, out=tmp_path / "s", progress=False)


def test_a_checkpoint_is_read_without_running_code(tmp_path):
    run = NeuralRun(config(), tmp_path / "r", False)
    torch.save({"epoch": 0, "what": Path("x")}, tmp_path / "r" / "checkpoint.pt")
    with pytest.raises(Exception, match="[Ww]eights"):
        run.load()
