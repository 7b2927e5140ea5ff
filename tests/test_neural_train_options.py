"""`stepsmith train` on digits with the options of NeuralODE that a config's [solver] options hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from typer.testing import CliRunner  # noqa: E402

from stepsmith.integrators.neural import strength as strengths  # noqa: E402
from stepsmith.train.cli import app  # noqa: E402
from stepsmith.train.neural import loop, tasks  # noqa: E402
from stepsmith.train.neural.config import from_dict  # noqa: E402

COUNTS = {"nfev": 1.0, "naccept": 1.0, "nreject": 0.0, "seconds": 1.0}
SMALL = {"name": "toy", "task": {"name": "digits", "hidden": 8}, "train": {"epochs": 1, "batch": 512}}


def config(task=None, **solver):
    return from_dict({**SMALL, **({} if task is None else {"task": task}), "solver": solver})


def trained(tmp_path, options, epochs=1):
    """The last row of the log and the model of a run from a file, by the command."""
    (tmp_path / "c.toml").write_text(
        f'name = "toy"\n[task]\nname = "digits"\nhidden = 8\n[solver]\ntolerance = 1e-6\noptions = {options}\n'
        f"[train]\nepochs = {epochs}\nbatch = 512\n"
    )
    done = CliRunner().invoke(app, ["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert row["epoch"] == epochs and math.isfinite(row["loss"])
    return row, torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["model"]


def test_steps_auto_keeps_count_of_the_evaluations(tmp_path):
    _, model = trained(tmp_path, '{ steps = "auto" }', epochs=2)
    (record,) = [value for name, value in model.items() if name.endswith("step_record")]
    (size,) = [value for name, value in model.items() if name.endswith("first_step_size")]
    assert record.abs().sum() > 0 and 0 < size < 1


@pytest.mark.filterwarnings("ignore:checkpoint_mb = 1 is less")
@pytest.mark.parametrize(("megabytes", "replays"), [(1000.0, False), (1.0, True)])
def test_a_budget_decides_on_checkpoints(tmp_path, megabytes, replays):
    row, _ = trained(tmp_path, f'{{ checkpoint = "auto", checkpoint_mb = {megabytes} }}')
    assert (row["nfev_replay"] > 0) == replays


def test_tolerances_as_in_torchdiffeq_take_fewer_evaluations(tmp_path):
    rows = []
    for name, options in (("a", "{}"), ("b", '{ tolerance = "torchdiffeq" }')):
        (tmp_path / name).mkdir()
        rows.append(trained(tmp_path / name, options)[0])
    assert rows[1]["test_nfev"] < 0.9 * rows[0]["test_nfev"]


@pytest.mark.filterwarnings("ignore:.*out.mask is False")
@pytest.mark.parametrize("how", [{}, {"on_failure": "raise"}, {"on_failure": "warn"}, {"on_failure": "mask"}])
def test_a_solve_that_fails_as_a_whole_ends_the_run(tmp_path, how):
    cfg = config(tolerance=1e-3, options={"max_steps": 1, **how})
    training = loop._Training(cfg, tmp_path / "r", False)
    with pytest.raises(loop.Diverged, match="a solve failed: .*step limit"):
        training._step(training.rows[:8])


@pytest.mark.filterwarnings("ignore:.*masked")
def test_samples_that_fail_leave_the_loss_under_mask(tmp_path):
    cfg = config(tolerance=1e-7, per_sample=True, options={"max_steps": 8, "on_failure": "mask"})
    training = loop._Training(cfg, tmp_path / "r", False)
    rows = training.rows[:40]
    with torch.no_grad():
        mask = training.task.solve(rows, None)[1].mask
    assert 0 < int(mask.sum()) < 40
    training._step(rows)
    other = loop._Training(config(tolerance=1e-7, per_sample=True), tmp_path / "s", False)
    other._step(rows[mask])
    for p, q in zip(training.task.model.parameters(), other.task.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12)
    assert training.tally["loss"] == pytest.approx(other.tally["loss"], rel=1e-12)


def test_the_kept_part_of_a_latent_model_s_predictions_is_theirs():
    task = tasks.build(config({"name": "pbcseq"}, tolerance=1e-3))
    rows = torch.from_numpy(task.split.train[:12])
    kept = torch.arange(12) % 3 > 0
    with torch.no_grad():
        prediction, _ = task.solve(rows, None)
        part = task.part(prediction, kept)
    torch.testing.assert_close(task.score(part, rows[kept]), task.score(prediction, rows)[kept])
    assert len(part[2]) == len(part[3]) == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"controller": "i"}, r"\[solver\] options must not hold controller: controller is a key of the table"),
        ({"warm_start": True}, r"\[solver\] options must not hold warm_start: warm_start is a key of the table"),
        ({"rtol": 1e-3}, r"\[solver\] options must not hold rtol: tolerance is rtol and atol"),
        ({"regulariser": "er_mean"}, r"options must not hold regulariser: it is the table \[regulariser\]"),
        ({"on_failure": "go on"}, r"\[solver\] .*on_failure"),
        ({"step": "auto"}, r"\[solver\] .*no option 'step': did you mean"),
    ],
)
def test_options_that_do_not_fit_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        tasks.check(config(options=options))


def strength_of(name, higher=None, **more):
    strength = {"kind": "dual_ascent", "watch": "validation", "reference": 0.97, "budget": 0.01, **more}
    strength |= {} if higher is None else {"higher_is_better": higher}
    table = {"name": "er_mean", "strength": {"kind": "ratio", "of": strength}}
    return from_dict({**SMALL, "task": {"name": name}, "regulariser": table})


@pytest.mark.parametrize("given", [None, True])
def test_the_task_decides_whether_higher_is_better(tmp_path, given, monkeypatch):
    """The reference accuracy is within the budget, so that the strength rises; before, it was taken for a loss."""
    told = []
    made = strength_of("digits", given, floor_patience=1)
    monkeypatch.setattr(loop, "evaluate", lambda task, rows, batch: (np.full(len(rows), 0.97), dict(COUNTS)))
    real = strengths.DualAscent.report

    def report(self, metric):
        real(self, metric)
        told.extend((metric, self.level))

    monkeypatch.setattr(strengths.DualAscent, "report", report)
    loop.train(made, out=tmp_path / "run", progress=False)
    assert told == pytest.approx([0.97, 0.1 * math.exp(0.2)])


def test_a_loss_is_told_as_it_is_and_a_strength_that_takes_a_loss_is_told_a_loss():
    low, high = (loop.schedule(strength_of("digits"), 1, higher) for higher in (False, True))
    assert (low.higher_is_better, high.higher_is_better) == (False, True)
    plain = from_dict({**SMALL, "regulariser": {"name": "er_mean", "strength": {"kind": "dual_ascent"}}})
    assert loop.schedule(plain, 1, True).higher_is_better is False


@pytest.mark.parametrize("task", [True, False])
def test_a_config_that_contradicts_its_task_is_refused(task):
    words = f"higher_is_better = {str(not task).lower()} contradicts the task.*leave it out"
    with pytest.raises(ValueError, match=words):
        loop.schedule(strength_of("digits", not task), 1, task)


def test_a_validation_metric_that_is_nan_ends_the_run(tmp_path, monkeypatch):
    real = loop.evaluate

    def evaluate(task, rows, batch):
        scores, counts = real(task, rows, batch)
        return (scores * math.nan if rows is task.split.validation else scores), counts

    monkeypatch.setattr(loop, "evaluate", evaluate)
    with pytest.raises(loop.Diverged, match="the validation accuracy is nan"):
        loop.train(config(), out=tmp_path / "run", progress=False)
    assert json.loads((tmp_path / "run" / "state.json").read_text())["status"] == "diverged"
