"""Sweeps: files that are refused, trials as run folders, going on after an interruption."""

import json
import sys
import time
from pathlib import Path

import pytest

from stepsmith.train.cli import program as cli
from stepsmith.train.tune.sweep_space import load

TINY = """
name = "tiny"
algorithm = "es"

[env]
family = "lotka_volterra"
method = "tsit5"
law = "i"
features = ["log_err", "log_err_1"]
pool_size = 8

[policy]
hidden = [2]

[train]
generations = 2
population = 4
instances = 4

[evaluate]
every = 1
instances = 4

[sweep]
trials = 2
seeds = 2

[sweep.parameters]
"train.sigma" = {low = 0.05, high = 0.2, log = true}
"policy.hidden" = [[2], [3]]
"""


def write(tmp_path, text=TINY):
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    return path


def run(*args):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in args])
    return stop.value.code


def test_a_sweep_file_is_a_config_with_a_table(tmp_path):
    space = load(write(tmp_path))
    assert (
        space.config.name == "tiny"
        and space.trials == 2
        and space.seeds == 2
        and space.sampler == "tpe"
        and not space.prune
    )
    grid = TINY.replace("trials = 2", 'trials = 9\nsampler = "grid"').replace(
        "{low = 0.05, high = 0.2, log = true}", "[0.05, 0.1, 0.2]"
    )
    space = load(write(tmp_path, grid))
    points = [space.point(i) for i in range(space.count)]
    assert space.count == 6 and {(p["train.sigma"], p["policy.hidden"]) for p in points} == {
        (s, h) for s in (0.05, 0.1, 0.2) for h in ("[2]", "[3]")
    }  # fmt: skip


@pytest.mark.parametrize(
    "old, new, says",
    [
        (
            '"train.sigma"',
            '"train.sigmma"',
            "unknown parameter of the sweep 'train.sigmma': did you mean 'train.sigma'",
        ),
        ('"train.sigma"', '"env.pool_sise"', "did you mean 'env.pool_size'"),
        ('"policy.hidden"', '"policy.hiden"', "did you mean 'policy.hidden'"),
        ('"policy.hidden"', '"polcy.hidden"', "did you mean 'policy"),
        ('"policy.hidden"', '"seed"', "unknown parameter of the sweep 'seed'"),
        ("trials = 2", "trails = 2", "unknown key in [sweep] 'trails': did you mean 'trials'"),
        ("trials = 2", "trials = 0", "sweep.trials must be a whole number of at least 1"),
        ("trials = 2", "trials = true", "sweep.trials must be a whole number"),
        ("seeds = 2", "prune = 1", "sweep.prune must be True or False"),
        ("trials = 2", 'sampler = "tpa"', "unknown sampler 'tpa': did you mean 'tpe'"),
        ("trials = 2", 'sampler = "grid"', "the grid takes lists of choices"),
        ("high = 0.2, log", "hihg = 0.2, log", "did you mean 'high'"),
        ("high = 0.2", "high = 0.01", "needs low < high"),
        ("low = 0.05", "low = 0.0", "low > 0 on a logarithmic scale"),
        ("high = 0.2", "high = inf", "finite numbers"),
        ("high = 0.2, ", "", "finite numbers"),
        ("[[2], [3]]", "[]", "a list of different values"),
        ("[[2], [3]]", "3", "must be a list of choices"),
        ("[[2], [3]]", "[[2], [0]]", "'policy.hidden': [policy] hidden[0] must be a whole number"),
        ('algorithm = "es"', 'algorithm = "ess"', "unknown algorithm"),
        ('family = "lotka_volterra"', 'family = "lotka_voltera"', "did you mean 'lotka_volterra'"),
        ("[sweep.parameters]", "[sweep.other]", "unknown key in [sweep] 'other'"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, capsys, old, new, says):
    text = TINY.replace(old, new)
    assert text != TINY
    assert run("sweep", write(tmp_path, text), "--out", tmp_path / "o") == 2
    out, err = capsys.readouterr()
    assert out == "" and says in err and err.startswith("stepsmith: ") and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_the_example_is_a_sweep():
    space = load(Path(__file__).parent.parent / "examples" / "three_body_sweep.toml")
    assert space.prune and set(space.parameters) == {"train.sigma", "train.decay", "policy.hidden", "policy.activation"}


def test_a_plain_config_is_no_sweep(tmp_path):
    with pytest.raises(ValueError, match=r"no \[sweep\] table"):
        load(write(tmp_path, TINY[: TINY.index("[sweep]")]))


@pytest.mark.parametrize(
    "algorithm, key, values",
    [
        ("ppo", "n_epochs", "[5, 10]"),
        ("sac", "tau", "{low = 0.05, high = 0.2}"),
        ("dqn", "target_update_interval", "{low = 10, high = 99}"),
    ],
)
def test_keys_of_the_other_algorithms_are_known(tmp_path, algorithm, key, values):
    pytest.importorskip("stable_baselines3")
    text = TINY.replace('"es"', f'"{algorithm}"').replace("train.sigma", f"train.{key}")
    text = text.replace("{low = 0.05, high = 0.2, log = true}", values)
    actions = "[train]\nactions = [[-0.5, 0.0], [0.5, 0.0]]\n\n" if algorithm == "dqn" else ""
    text = text[: text.index("[train]")] + actions + text[text.index("[evaluate]") :]
    assert f"train.{key}" in load(write(tmp_path, text)).parameters
    with pytest.raises(ValueError, match=f"did you mean 'train.{key}'"):
        load(write(tmp_path, text.replace(f"train.{key}", f"train.{key}x")))
    if key == "n_epochs":
        with pytest.raises(ValueError, match="n_epochs must be a whole number"):
            load(write(tmp_path, text.replace(values, "{low = 0.05, high = 0.2}")))


def test_without_optuna_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run("sweep", write(tmp_path), "--out", tmp_path / "o") == 1
    assert "stepsmith[sweep]" in capsys.readouterr().err


def test_a_sweep_is_cut_short_and_goes_on(tmp_path, capsys, monkeypatch):
    """Ctrl-C in the second run of the first trial; then to the end; then a third trial; then the same by one call."""
    optuna = pytest.importorskip("optuna")
    from stepsmith.train.tune import sweep as module

    folder, train, runs = tmp_path / "o", module._train, []

    def interrupted(data, path, trial):
        runs.append(path)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return train(data, path, trial)

    monkeypatch.setattr(module, "_train", interrupted)
    assert run("sweep", write(tmp_path), "--out", folder, "--seed", 3) == 130
    capsys.readouterr()
    assert run("sweep", write(tmp_path), "--out", folder, "--seed", 3, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads((folder / "sweep.json").read_text())
    # trial 0 went on with its second run: the first was not trained again
    assert [p.relative_to(folder).as_posix() for p in runs] == [
        "trial-000/s3", "trial-000/s4", "trial-000/s4", "trial-002/s3", "trial-002/s4",
    ]  # fmt: skip
    assert [t["state"] for t in data["trials"]] == ["complete"] * 2 and data["best"] in (0, 1)
    for t in data["trials"]:
        figures = []
        for seed, figure in t["runs"].items():
            one = folder / t["folder"] / f"s{seed}"
            log = [json.loads(line) for line in (one / "log.jsonl").read_text().splitlines()]
            assert figure == min(line["validation"] for line in log)
            config = json.loads((one / "config.json").read_text())
            assert config["seed"] == int(seed) and config["train"]["sigma"] == t["parameters"]["train.sigma"]
            assert json.dumps(config["policy"]["hidden"]) == t["parameters"]["policy.hidden"]
            assert (one / "controller.safetensors").exists()
            figures.append(figure)
        assert t["value"] == pytest.approx(sum(figures) / 2) and set(t["runs"]) == {"3", "4"}

    # the same file again: nothing to do, the same answer, as a table; another file: refused
    assert run("sweep", write(tmp_path), "--out", folder, "--seed", 3) == 0
    out, _ = capsys.readouterr()
    assert "train.sigma" in out and "trial-002" in out and "sweep.json" in out and len(runs) == 5
    assert run("sweep", write(tmp_path), "--out", folder, "--seed", 4) == 2
    assert "another sweep" in capsys.readouterr().err
    # settings do not depend on the interruption
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "sweep.journal")))
    assert len(optuna.load_study(study_name="tiny", storage=storage).trials) == 3
    monkeypatch.setattr(module, "_train", lambda data, path, trial: data["train"]["sigma"])
    straight = module.sweep(write(tmp_path), tmp_path / "p", 3, progress=False)
    assert [t.parameters for t in straight.trials] == [t["parameters"] for t in data["trials"]]
    assert straight.best.value == min(t.parameters["train.sigma"] for t in straight.trials)


def test_failures_are_kept_and_end_a_hopeless_sweep(tmp_path):
    pytest.importorskip("optuna")
    from stepsmith.train.tune import sweep as module

    # what only the training finds out: no instance is cheap enough
    text = TINY.replace("generations = 2", "generations = 2\ndearest = 1e-9").replace("trials = 2", "trials = 1")
    with pytest.raises(ValueError, match="no training instance costs the baseline at most"):
        module.sweep(write(tmp_path, text), tmp_path / "o", progress=False)
    data = json.loads((tmp_path / "o" / "sweep.json").read_text())
    assert data["best"] is None and data["trials"][0]["state"] == "failed" and data["trials"][0]["value"] is None


def test_a_bad_trial_is_pruned(tmp_path, monkeypatch):
    """Figures that come one by one, those of one trial far above the others'."""
    pytest.importorskip("optuna")
    from stepsmith.train.tune import sweep as module

    given, seen = [[1.0, 0.9, 0.8]] * 6 + [[1.0, 5.0, 0.1]], []

    def train(data, path, trial):
        figures = given[len(seen)]
        seen.append(path)
        for n in range(1, 4):
            module._report(trial, [x + (1.0 if figures[1] > 1.0 else 0.0) for x in figures[:n]], n - 1)
        return min(figures)

    monkeypatch.setattr(module, "_train", train)
    text = TINY.replace("trials = 2", "trials = 7\nprune = true").replace("seeds = 2", "seeds = 1")
    result = module.sweep(write(tmp_path, text), tmp_path / "o", progress=False)
    assert [t.state for t in result.trials] == ["complete"] * 6 + ["pruned"]
    assert result.best.value == 0.8 and result.rows()[-1][1] == "pruned"


def test_a_pruned_run_is_stopped(tmp_path):
    """A training run of its own that would go on for hours, ended after its second validation."""
    optuna = pytest.importorskip("optuna")
    import tomllib

    from stepsmith.train.tune import sweep as module

    class Judge:
        reports = []

        def report(self, value, step):
            self.reports.append((step, value))

        def should_prune(self):
            return len(self.reports) > 1

    data = tomllib.loads(TINY[: TINY.index("[sweep]")].replace("generations = 2", "generations = 10_000_000"))
    with pytest.raises(optuna.TrialPruned):
        module._train(data, tmp_path / "s0", Judge())
    assert [step for step, _ in Judge.reports] == [0, 1] and Judge.reports[1][1] <= Judge.reports[0][1]
    lines = (tmp_path / "s0" / "log.jsonl").read_text()
    time.sleep(1.0)
    assert (tmp_path / "s0" / "log.jsonl").read_text() == lines
