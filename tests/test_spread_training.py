"""Training, tuning, comparing and sweeping by an executor: the figures of one process, whoever does the work."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.laws import registry, tuned
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.train.evaluate.splits import draw
from stepsmith.train.fit.candidates import published, published_of
from stepsmith.train.run.run import train
from stepsmith.train.run.seeds import first_seeds, train_seeds
from stepsmith.train.tune import tune
from stepsmith.train.tune.objective import Objective
from toy_runs import command, config_file, content, logged, make

FAMILY, METHOD = "lotka_volterra", "tsit5"


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2) as executor:
        yield executor


def test_an_evolution_strategy_learns_the_same(pool, tmp_path):
    config = make("es", train={"generations": 6, "population": 4, "instances": 4, "sigma": 0.3, "redraw": 3},
                  evaluate={"every": 1, "instances": 4, "against": "i"})  # fmt: skip
    for name, executor in (("alone", None), ("shared", pool)):
        train(config, out=tmp_path / name, progress=False, executor=executor)
    assert logged(tmp_path / "alone") == logged(tmp_path / "shared")
    assert content(tmp_path / "alone") == content(tmp_path / "shared")
    assert len(logged(tmp_path / "alone")) > 2


def test_a_law_costs_the_same(pool):
    split = draw(FAMILY, METHOD, "train", 5, 3)
    laws = [registry.get(name) for name in ("pi34", "h211b", "i")]
    alone, shared = Objective([split]), Objective([split], executor=pool)
    assert alone.many(laws) == shared.many(laws)
    for name in ("evaluations", "solves", "nfev", "attempts"):
        assert getattr(alone, name) == getattr(shared, name) > 0


def test_tuning_finds_the_same(pool):
    given = {"n": 3, "n_validation": 3, "evaluations": 60, "restarts": 1, "progress": False}
    alone, shared = tune(FAMILY, METHOD, **given), tune(FAMILY, METHOD, executor=pool, **given)
    assert alone.law.as_dict() == shared.law.as_dict() and alone.ratios == shared.ratios
    assert alone.facts["budget"] == shared.facts["budget"] and alone.facts["train"] == shared.facts["train"]


def test_a_comparison_says_the_same(pool, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path))
    facts = {"family": FAMILY, "method": METHOD, "base": "pi34", "chosen": "x", "seed": 0, "commit": None}
    law = registry.get("pi34", safety=0.93)
    tuned.write(
        tuned.user_folder() / tuned.file_name(FAMILY, METHOD), law, {**facts, "budget": {"evaluations": 1, "solves": 2}}
    )
    seeds = [
        Learned.random(Decision(["log_err", "log_err_1"], "i"), hidden=(4,), rng=k, scale=0.6, name="net")
        for k in (1, 2)
    ]
    given = {"seed": 4, "n": 5, "n_validation": 4, "wall": False, "progress": False}
    alone = ss.compare(FAMILY, METHOD, [seeds], **given).to_json()
    for executor in (pool, ThreadPoolExecutor(2)):
        shared = ss.compare(FAMILY, METHOD, [seeds], executor=executor, **given).to_json()
        assert {**alone, "commit": None} == {**shared, "commit": None}


def test_methods_are_tried_side_by_side(pool):
    split, rtols = draw(FAMILY, METHOD, "validation", 3, 0), np.geomspace(1e-3, 1e-7, 5)
    (found,) = published_of([(split, ("i", "pi34"))], rtols, 10_000, pool)
    alone = published(split, rtols, 10_000, ("i", "pi34"))
    assert [c.name for c in found] == [c.name for c in alone] == ["i", "pi34"]
    for a, b in zip(found, alone, strict=True):
        assert all(np.array_equal(getattr(a.sweep, k), getattr(b.sweep, k)) for k in vars(a.sweep))


SWEEP = """
[sweep]
trials = 3
seeds = 2
sampler = "{sampler}"

[sweep.parameters]
"train.sigma" = [0.1, 0.2, 0.3]
"""


def sweep_file(tmp_path, sampler="grid"):
    text = config_file(tmp_path).read_text().replace('"generations": 30', '"generations": 2')
    text = text.replace("generations = 30", "generations = 2").replace("every = 20000", "every = 1")
    path = tmp_path / f"{sampler}.toml"
    path.write_text(text + SWEEP.replace("{sampler}", sampler))
    return path


def test_a_sweep_has_the_same_trials(tmp_path, monkeypatch):
    """The figures are those of a formula: what a run is does not matter here, and another test trains."""
    pytest.importorskip("optuna")
    from stepsmith.train.run import apart
    from stepsmith.train.tune import sweep as module

    seen = []

    def figure(data, folder, watch=None, cwd=None):
        if data["train"]["sigma"] == 0.2 and data["seed"] == 1:
            raise apart.Failed("no luck")
        seen.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        value = data["train"]["sigma"] + data["seed"]
        (folder / "log.jsonl").write_text(json.dumps({"validation": value}) + "\n")
        return value

    monkeypatch.setattr(apart, "train_apart", figure)
    monkeypatch.setattr(module, "train_apart", figure)
    for sampler in ("grid", "random", "tpe"):
        file = sweep_file(tmp_path, sampler)
        alone = module.sweep(file, tmp_path / f"{sampler}-alone", progress=False)
        with ThreadPoolExecutor(3) as threads:
            shared = module.sweep(file, tmp_path / f"{sampler}-shared", progress=False, executor=threads)
        said = [[{**vars(t), "seconds": 0.0} for t in found.trials] for found in (alone, shared)]
        assert said[0] == said[1] and len(said[0]) == 3
        assert len(seen) == len(set(seen))


def test_a_shared_sweep_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from stepsmith.train.run import apart
    from stepsmith.train.tune import sweep as module

    ran = []

    def figure(data, folder, watch=None, cwd=None):
        ran.append(folder)
        if len(ran) == 4:
            raise KeyboardInterrupt
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.jsonl").write_text(json.dumps({"validation": data["train"]["sigma"]}) + "\n")
        return data["train"]["sigma"]

    monkeypatch.setattr(apart, "train_apart", figure)
    file = sweep_file(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(KeyboardInterrupt):
            module.sweep(file, tmp_path / "o", progress=False, executor=threads)
        found = module.sweep(file, tmp_path / "o", progress=False, executor=threads)
    assert sorted(t.value for t in found.trials) == [0.1, 0.2, 0.3]
    assert {t.folder for t in found.trials} == {"trial-000", "trial-001", "trial-002"}


def test_seeds_are_ordinary_runs(pool, tmp_path):
    config = make("es", train={"generations": 2, "population": 4, "instances": 4},
                  evaluate={"every": 1, "instances": 4, "against": "i"})  # fmt: skip
    folders = train_seeds(config, first_seeds(config, 3, 2), tmp_path / "o", progress=False, executor=pool)
    assert folders == [tmp_path / "o" / "s3", tmp_path / "o" / "s4"]
    train(config, 4, tmp_path / "alone", progress=False)
    assert logged(folders[1]) == logged(tmp_path / "alone") != logged(folders[0])
    assert content(folders[1]) == content(tmp_path / "alone")
    with pytest.raises(ValueError, match="s3 already holds a run"):
        train_seeds(config, [3], tmp_path / "o", progress=False)


def test_a_seed_that_fails_is_named(tmp_path):
    config = make("es", train={"generations": 2, "population": 4, "instances": 4, "dearest": 1e-9})
    with ThreadPoolExecutor(2) as threads, pytest.raises(ValueError, match="seed 1 failed: .*no training instance"):
        train_seeds(config, [1], tmp_path / "o", progress=False, executor=threads)


def test_workers_that_write_elsewhere_are_found_out(tmp_path, monkeypatch):
    from stepsmith.train.run import apart

    monkeypatch.setattr(apart, "train_apart", lambda *given, **more: 1.0)
    with pytest.raises(ValueError, match="must be on a disk that all machines share"):
        apart.train_all([({}, tmp_path / "s0")], None)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["train", "three_body_ppo"], "a training by 'ppo' is one process, which executor (--cluster)"),
        (["train", "regularization_es"], "by 'es' in stepsmith/Regularization-v0 is one process"),
        (["train", "neural_digits"], "a training of a neural network is one process"),
        (["train", "neural_digits", "--seeds", "2"], "several seeds at once are for configs of controllers"),
        (["tune", "runs"], "--cluster belongs to a family or a suite"),
    ],
)
def test_what_is_one_process_is_refused(tmp_path, capsys, monkeypatch, args, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "config.json").write_text("{}")
    code, lines = command(capsys, *args, "--cluster", "processes:1")
    assert code == 2 and len(lines) == 1 and says in lines[0]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "runs"]


@pytest.mark.parametrize(
    ("sampler", "new", "says"),
    [
        ("grid", "prune = true", "sweep.prune = true stops a trial"),
        ("tpe", "seeds = 1", "draws each trial from the results of those before"),
    ],
)
def test_a_sweep_whose_trials_wait_for_each_other_is_refused(tmp_path, capsys, sampler, new, says):
    pytest.importorskip("optuna")
    file = sweep_file(tmp_path, sampler)
    file.write_text(file.read_text().replace("seeds = 2", new))
    code, lines = command(capsys, "sweep", file, "--out", tmp_path / "o", "--cluster", "processes:1")
    assert code == 2 and says in lines[0] and not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["fit", "tune", "compare"])
def test_the_command_line_takes_workers_by_name(capsys, name):
    code, lines = command(capsys, name, FAMILY, "--cluster", "many")
    assert code == 2 and "cluster must be processes:N" in lines[0]
