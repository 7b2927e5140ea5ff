"""Training in environments whose actions are no step sizes: strengths of a regulariser, and policies in SB3's own file.

Trainings of two decisions and two iterations stand for those of twenty and six, where it is not their numbers that are
looked at.
"""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sklearn")

from stable_baselines3 import PPO as PPO_MODEL

import stepsmith as ss
from stepsmith.controllers.strengths import policy_file
from stepsmith.controllers.strengths.observation import OBSERVED, action_of, ratio_of
from stepsmith.controllers.strengths.policy_file import StrengthNetwork
from stepsmith.envs.regularization import core as env_core
from stepsmith.envs.regularization import grid
from stepsmith.train.algorithms import sb3_checks
from stepsmith.train.config import config as configs
from stepsmith.train.config import overrides
from stepsmith.train.config.resolved import resolved
from stepsmith.train.evaluate import enjoy, returns, strengths
from stepsmith.train.run import run as runs
from stepsmith.train.run.rundir import RunDir

ID = "stepsmith/Regularization-v0"
NEURAL = "stepsmith/NeuralODE-v0"
ES = {
    "name": "toy", "algorithm": "es", "env": {"id": ID, "pool_size": 3}, "policy": {"hidden": []},
    "train": {"generations": 3, "population": 3, "instances": 2, "redraw": 1},
    "evaluate": {"every": 12, "instances": 2},
}  # fmt: skip
PPO = {
    "name": "toy", "algorithm": "ppo", "env": {"id": ID, "pool_size": 3, "actions": 1, "observe": "run"},
    "policy": {"hidden": [3]}, "train": {"total_steps": 16, "num_envs": 4, "n_steps": 2, "batch_size": 8},
    "evaluate": {"every": 8, "instances": 2},
}  # fmt: skip


@pytest.fixture
def short(monkeypatch):
    for module in (env_core, strengths):
        monkeypatch.setattr(module, "DECISIONS", 2)
    monkeypatch.setattr(env_core, "ITERATIONS", 2)


def make(data, **changes):
    merged = {k: {**data[k], **v} if isinstance(v, dict) else v for k, v in changes.items()}
    return configs.from_dict({**data, **merged})


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def without_clock(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in logged(folder)]


def test_the_evolution_strategy_makes_a_strength_and_goes_on_where_it_was_cut(short, tmp_path, monkeypatch):
    path = runs.train(make(ES), out=tmp_path / "run", progress=False)
    assert path.name == "strength.safetensors" and isinstance(ss.load_controller(path), ss.neural.strength.Ratio)
    network, rows = policy_file.read(path), logged(tmp_path / "run")
    assert [row["env_steps"] for row in rows] == [3 * 2 * 20, 3 * 2 * 40, 3 * 2 * 60]
    assert rows[-1]["best"] == min(r["validation"] for r in rows) == -network.measured["validation_return"]
    assert network.provenance["algorithm"] == "es" and [len(b) for _, b, _ in network.layers] == [1]
    # what is kept is what was measured
    held = strengths.instances("validation", 2)
    assert strengths.play_all([network], held, 0.2)[0].mean() == pytest.approx(-rows[-1]["best"], rel=1e-6)

    # cut within the third generation, and resumed from the checkpoint of the second
    whole, calls = strengths.play_all, []

    def cut(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(strengths, "play_all", cut)
    with pytest.raises(KeyboardInterrupt):
        runs.train(make(ES), out=tmp_path / "cut", progress=False)
    assert RunDir(make(ES), tmp_path / "cut", resume=True).checkpoint.load()["generation"] == 2
    monkeypatch.setattr(strengths, "play_all", whole)
    again = runs.train(make(ES), out=tmp_path / "cut", progress=False, resume=True)
    assert policy_file.read(again).digest == network.digest and without_clock(tmp_path / "cut") == without_clock(
        tmp_path / "run"
    )
    # exported by the run, and begun from its file
    runs.export(tmp_path / "run", tmp_path / "mine.safetensors")
    assert policy_file.read(tmp_path / "mine.safetensors").digest == network.digest
    begun = make(ES, policy={"start": str(tmp_path / "mine.safetensors")}, train={"generations": 1, "sigma": 1e-9})
    found = policy_file.read(runs.train(begun, out=tmp_path / "begun", progress=False))
    assert found.provenance["start"] == {"file": "mine.safetensors", "env_steps": network.provenance["env_steps"]}
    assert found.provenance["env_steps"] == network.provenance["env_steps"] + 120
    np.testing.assert_allclose(found.weights, network.weights, atol=1e-7)
    wider = make(ES, policy={"start": str(tmp_path / "mine.safetensors"), "hidden": [2]})
    with pytest.raises(ValueError, match=r"\[policy\] start: .* has layers"):
        runs.train(wider, out=tmp_path / "wider", progress=False)
    assert not (tmp_path / "wider").exists()


def test_ppo_makes_a_strength_or_a_policy_of_its_own(short, tmp_path):
    path = runs.train(make(PPO), out=tmp_path / "run", progress=False)
    network, rows = policy_file.read(path), logged(tmp_path / "run")
    assert network.provenance["env_steps"] in (8, 16) and len(rows) >= 2
    held = strengths.instances("validation", 2)
    again = strengths.play(network, held, lagrange=0.2)["return"].mean()
    assert again == pytest.approx(-rows[-1]["best"], rel=1e-4)
    assert network.measured["validation_return"] == -rows[-1]["best"]
    # the tolerance as an action, or features that a training loop has not, are no strength
    cfg = make(PPO, env={"observe": "all", "actions": 3}, train={"total_steps": 8})
    path = runs.train(cfg, out=tmp_path / "all", progress=False)
    assert path.name == "policy.zip" and PPO_MODEL.load(path).observation_space.shape == (18,)
    with pytest.raises(ValueError, match="its policy is no controller"):
        runs.export(tmp_path / "all", tmp_path / "x.safetensors")
    for folder in ("run", "all"):
        with pytest.raises(ValueError, match=f"its policy plays {ID} and is no controller"):
            enjoy.load(tmp_path / folder)
    # it begins as the ratio .1, and what is validated is what episodes are paid, against the same constant
    held_too = make(PPO, env={"against": 0.1}, train={"total_steps": 8, "learning_rate": 1e-12})
    first = policy_file.read(runs.train(held_too, out=tmp_path / "first", progress=False))
    assert 10.0 ** float(ratio_of(first(np.zeros(7))[0])) == pytest.approx(0.1, rel=0.05)
    tenth = strengths.play(first, held, lagrange=0.2, against=0.1)["return"].mean()
    assert first.measured["validation_return"] == pytest.approx(tenth, rel=1e-4)
    assert first.provenance["against"] == 0.1 and abs(tenth - strengths.play(first, held, 0.2)["return"].mean()) > 0.05


def test_a_policy_of_fields_that_drift(tmp_path):
    from stable_baselines3 import DQN

    table = [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]
    cfg = configs.from_dict({
        "name": "toy", "algorithm": "dqn", "env": {"id": NEURAL, "pool_size": 16},
        "policy": {"hidden": [4]}, "evaluate": {"every": 256, "instances": 10},
        "train": {"total_steps": 512, "num_envs": 16, "learning_starts": 64, "batch_size": 32, "buffer_size": 512,
                  "gradient_steps": 1, "train_freq": 1, "actions": table},
    })  # fmt: skip
    path = runs.train(cfg, out=tmp_path / "run", progress=False)
    model = DQN.load(path)
    rows = logged(tmp_path / "run")
    check = sb3_checks.ReturnCheck(cfg, RunDir(cfg, tmp_path / "again", resume=False), table)
    assert check.core.lanes == 2 and check.episodes == 8  # ten solves, in whole trainings
    assert check(model) == check(model) == pytest.approx(rows[-1]["best"], rel=1e-6)
    # by the library alone: the return of an action that is always the same
    core, acts = check.core, np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (2, 1))
    core.seed(check.keys)
    core.reset()
    sums = []
    while len(sums) < 16:
        core.step(acts)
        sums += [core.stats[lane, core.columns.index("return")] for lane in core.ended[: core.terminated.sum()]]
    core.seed(check.keys)
    assert returns.mean_return(core, lambda obs: acts, 8) == pytest.approx(np.mean(sums), abs=0.2)


def test_a_policy_on_the_way_to_a_steady_state(tmp_path):
    cfg = configs.from_dict({
        "name": "toy", "algorithm": "ppo", "env": {"id": "stepsmith/SteadyState-v0", "max_attempts": 40},
        "policy": {"hidden": [4]}, "evaluate": {"every": 512, "instances": 200},
        "train": {"total_steps": 512, "num_envs": 32, "n_steps": 16, "batch_size": 256},
    })  # fmt: skip
    path = runs.train(cfg, out=tmp_path / "run", progress=False)
    check = sb3_checks.ReturnCheck(cfg, RunDir(cfg, tmp_path / "again", resume=False), None)
    assert check.core.lanes == 200  # more than the split has instances
    rows = logged(tmp_path / "run")
    assert check(PPO_MODEL.load(path)) == pytest.approx(min(r["validation"] for r in rows), rel=1e-6)


def test_constants_are_played_as_the_table_has_them():
    numbers = np.array([0, 100, 130])  # of each split
    found = strengths.play(strengths.constant(0.3), numbers, lagrange=0.2)
    np.testing.assert_allclose(found["return"], strengths.of_constant(0.3, 0.2)[numbers], rtol=1e-4, atol=1e-5)
    assert found["instance"].tolist() == [0, 100, 130] and not found["failed"].any()
    summed = strengths.means(found)
    assert summed["return"] == found["return"].mean() and summed["within"] in (0.0, 1 / 3, 2 / 3, 1.0)
    with pytest.raises(ValueError):
        strengths.of_constant(0.2, 0.2)


def test_a_batch_of_candidates_is_each_alone():
    rng = np.random.default_rng(3)
    some = [StrengthNetwork.random([3], rng, 0.05, ratio=ratio) for ratio in (0.03, 3.0)]
    numbers = np.array([5, 75])  # of loose tolerances
    together = strengths.play_all(some, numbers, 0.5)
    alone = [strengths.play_all([n], numbers, 0.5)[0] for n in some]
    assert together.shape == (2, 2)
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)
    assert len(np.unique(together.round(3))) == 4


def test_weights_of_a_strength():
    rng = np.random.default_rng(0)
    network = StrengthNetwork.random([4, 3], rng, 0.1, "relu", ratio=0.1, name="n")
    assert network.n_weights == len(network.weights) == 7 * 4 + 4 + 4 * 3 + 3 + 3 + 1
    twin = network.with_weights(network.weights)
    assert twin.digest == network.digest and twin.features == tuple(OBSERVED) and twin.name == "n"
    obs = rng.uniform(-5, 5, (6, 7))
    np.testing.assert_array_equal(twin(obs), network(obs))
    other = network.with_weights(network.weights + 1.0)
    assert other.digest != network.digest
    np.testing.assert_allclose(other.layers[0][0], network.layers[0][0] + 1.0)
    for wrong in (network.weights[:-1], np.zeros((2, 2))):
        with pytest.raises(ValueError, match="weights must have shape"):
            network.with_weights(wrong)
    for ratio in (0.01, 0.1, 1.0, 10.0):
        assert float(ratio_of(action_of(ratio))) == pytest.approx(np.log10(ratio))
    assert action_of(0.0) == -1.0
    for ratio in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="a ratio of gradients must be"):
            action_of(ratio)
    with pytest.raises(ValueError, match="hidden"):
        StrengthNetwork.random([0], rng, 0.1)
    assert network != twin and len({network, twin}) == 2  # weights are compared by digest
    zero = StrengthNetwork.random([], rng, 0.0, ratio=0.3)
    assert 10.0 ** float(ratio_of(zero(obs)[0, 0])) == pytest.approx(0.3)


@pytest.mark.parametrize("numbers", [[0], [0, -1], [0, 144], [0.0, 1.0], [True, False]])
def test_episodes_of_chosen_instances_are_checked(numbers):
    core = env_core.make_core(2, False)
    with pytest.raises(ValueError, match="numbers must be 2 instances from 0 to 143"):
        core.begin(np.array(numbers))


@pytest.mark.parametrize(
    ("data", "change", "message"),
    [
        (ES, {"env": {"actions": 2}}, r"\[env\] actions must be 1 with es"),
        (ES, {"env": {"observe": "all"}}, r"\[env\] observe must be 'run' with es"),
        (ES, {"env": {"pool_size": 97}}, r"\[env\] pool_size must be a whole number .* 96"),
        (ES, {"train": {"dearest": 3.0}}, "es does not use dearest of .train."),
        (ES, {"env": {"family": "lorenz"}}, r"unknown key in .env. 'family'"),
        (ES, {"env": {"observe": "runs"}}, "did you mean 'run'"),
        (ES, {"env": {"id": NEURAL}}, "es trains controllers, and none comes out of"),
        ({**ES, "algorithm": "closed_form", "train": {}, "policy": {}}, {}, "closed_form trains controllers, and none"),
        ({**PPO, "algorithm": "dqn", "train": {}}, {}, "dqn chooses from a table"),
        ({**PPO, "algorithm": "dqn", "train": {}}, {"train": {"actions": [[0.0, 0.0], [1.0, 0.0]]}},
         r"actions.0. must be 1 numbers in .-1, 1., as .env. actions says"),
        (PPO, {"env": {"id": NEURAL}}, r"unknown key in .env. 'observe'|'actions'"),
        (ES, {"env": {"against": 0.1}}, "es does not use against"),
        (PPO, {"env": {"split": "validation"}}, "split must not be 'validation'"),
        (PPO, {"evaluate": {"against": "pi42"}}, r".evaluate. against must be left out"),
    ],
)  # fmt: skip
def test_bad_configs_are_named(data, change, message, tmp_path):
    change = {k: v for k, v in change.items()}
    if data is ES and change.get("env", {}).get("id") == NEURAL:
        change["env"] = {"id": NEURAL, "pool_size": 8}
    with pytest.raises(ValueError, match=message):
        runs.train(make(data, **change), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("neural_ode_ppo", {"law": "pi43"}, "unknown law 'pi43'"),
        ("neural_ode_ppo", {"features": ["log_er"]}, "did you mean 'log_err'"),
        ("neural_ode_ppo", {"method": "radau5"}, "explicit"),
        ("neural_ode_ppo", {"reward": "matchd"}, "did you mean 'matched'"),
        ("neural_ode_ppo", {"pool_size": 250}, "a multiple of 8"),
        ("neural_ode_ppo", {"rtol": [1e-6, 1e-2]}, "rtol"),
        ("steady_state_ppo", {"pool_size": 600}, "pool_size.*512"),
        ("steady_state_ppo", {"tol": 1.0}, r".env. tol"),
    ],
)  # fmt: skip
def test_names_are_looked_up_before_anything_is_made(name, change, message):
    tables = configs.read(name)
    with pytest.raises(ValueError, match=message):
        resolved(configs.from_dict({**tables, "env": {**tables["env"], **change}}))


@pytest.mark.parametrize("name", ["regularization_ppo", "regularization_es", "neural_ode_ppo", "steady_state_ppo"])
@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3", "ddpg", "dqn"])
def test_every_algorithm_of_sb3_takes_them(name, algorithm):
    tables = configs.read(name)
    cfg = configs.from_dict(overrides.with_algorithm(tables, algorithm))
    whole = resolved(cfg)["train"]
    if name != "regularization_es":  # whose budget is in generations
        assert whole["total_steps"] == tables["train"]["total_steps"]
    if "learning_starts" in whole:
        assert whole["learning_starts"] <= whole["total_steps"] // 10
    if name.startswith("regularization"):
        assert whole["gamma"] == 1.0 and whole["total_steps"] == 23_040


def test_an_environment_of_ones_own_checks_its_own_arguments(tmp_path, monkeypatch):
    from stepsmith.envs import specs

    own = {"id": "mine/Own-v0", "tol": 1e-2, "speed": 3.0, "n_act": "two"}
    (tmp_path / "own_module.py").write_text(
        "from stepsmith.envs import steady_state\n"
        "from stepsmith.envs.steady_state import SteadyStateEnv as OwnEnv, SteadyStateVectorEnv as OwnVectorEnv\n"
        "spaces_of = steady_state.spaces_of\n"
        "def make_core(lanes, same_step, split='train', tol=1e-3, speed=1.0, n_act='one'):\n"
        "    assert (speed, n_act) == (3.0, 'two')\n"
        "    return steady_state.make_core(lanes, same_step, split=split, tol=tol, max_attempts=30)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    specs.register(specs.EnvSpec("mine/Own-v0", "own_module", "Own", "of a test", steps=False))
    small = {"total_steps": 256, "num_envs": 16, "n_steps": 16, "batch_size": 256}
    data = {"name": "own", "algorithm": "ppo", "env": own, "train": small, "evaluate": {"every": 256, "instances": 4}}
    try:
        with pytest.raises(ValueError, match="unknown key in .env. 'sped': did you mean 'speed'"):
            resolved(configs.from_dict({**data, "env": {**own, "sped": 1.0}}))
        path = runs.train(configs.from_dict(data), out=tmp_path / "run", progress=False)
        assert path.name == "policy.zip" and np.isfinite(logged(tmp_path / "run")[-1]["best"])
    finally:
        specs.SPECS.pop("mine/Own-v0")


def test_shipped_configs_say_what_they_train():
    for name in ("regularization_ppo", "regularization_es"):
        env = resolved(configs.load(name))["env"]
        assert (env["id"], env["actions"], env["observe"], env["split"]) == (ID, 1, "run", "train")
    whole = resolved(configs.load("neural_ode_ppo"))
    assert whole["env"]["n_act"] == 3 and whole["env"]["law"] == "pi34" and whole["train"]["gamma"] == 1.0
    assert grid.RATIOS.index(0.1) == 2
    other = configs.from_dict(overrides.with_algorithm(configs.read("regularization_ppo"), "es"))
    assert resolved(other)["train"]["population"] == 8 and other.policy.hidden == (8,)
    other = configs.from_dict(overrides.with_algorithm(configs.read("regularization_es"), "ppo"))
    env = resolved(other)["env"]
    assert (env["actions"], env["observe"]) == (1, "run") and other.train["total_steps"] == 23_040
    other = configs.from_dict(overrides.with_algorithm(configs.read("neural_ode_ppo"), "dqn"))
    assert resolved(other)["train"]["actions"][0] == [-1.0, 0.0, 0.0]


def test_returns_against_a_constant(short):
    numbers = np.array([5, 75, 59])
    cores = [env_core.make_core(3, False, lagrange=0.3, actions=1, against=a) for a in (None, 0.1)]
    for core in cores:
        core.begin(numbers)
        for _ in range(2):
            core.step(np.full((3, 1), 0.2))
        assert core.terminated.all()
    best, tenth = (core.stats[:, core.columns.index("return")] for core in cores)
    np.testing.assert_allclose(best - tenth, strengths.of_constant(0.1, 0.3)[numbers], atol=1e-6)
    for wrong in (0.2, -1.0, "best", True):
        with pytest.raises(ValueError, match="against"):
            env_core.make_core(1, False, against=wrong)
