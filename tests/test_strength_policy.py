"""A trained strength: its file, what it observes, and every way in which a person says it."""

import copy
import json
import pickle
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import stepsmith as ss  # noqa: E402
from stepsmith import neural  # noqa: E402
from stepsmith.controllers import file as files  # noqa: E402
from stepsmith.controllers import zoo  # noqa: E402
from stepsmith.controllers.strengths import PolicyStrength, StrengthNetwork, policy_file  # noqa: E402
from stepsmith.controllers.strengths.observation import BOUND, OBSERVED, OFF, observed, ratio_of  # noqa: E402
from stepsmith.controllers.strengths.policy import PATIENCE  # noqa: E402
from stepsmith.integrators.neural.strength import Ratio  # noqa: E402

F64 = torch.float64


def network(bias=0.0, weight=None, name="made"):
    row = np.zeros((1, len(OBSERVED))) if weight is None else np.asarray([weight], np.float64)
    return StrengthNetwork(name, tuple(OBSERVED), [(row, np.array([bias]), "linear")], {"seed": 3}, {"cost": 0.5})


def run(strength, iterations, nfev=30.0, factor=0.9):
    """A quadratic task with a penalty, and what the strength made of it."""
    x = torch.tensor([2.0, -1.0], dtype=F64, requires_grad=True)
    levels = []
    for k in range(iterations):
        strength.total((x**2).sum() * factor**k, (x**4).sum(), [x], nfev=nfev)
        levels.append(strength.last)
    return levels


def test_a_file_holds_it_and_is_checked(tmp_path):
    path = policy_file.save(network(0.25, np.arange(7.0)), tmp_path / "mine.safetensors")
    read = policy_file.read(path)
    assert read.features == tuple(OBSERVED) and read.provenance == {"seed": 3} and read.measured == {"cost": 0.5}
    obs = np.random.default_rng(0).normal(size=(5, 7))
    assert np.array_equal(read(obs), np.clip(obs @ np.arange(7.0)[:, None] + 0.25, -1.0, 1.0))
    assert read.digest == network(0.25, np.arange(7.0)).digest != network(0.5).digest
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"mine.safetensors: the digest does not fit"):
        policy_file.read(path)
    with pytest.raises(ValueError, match="must end in .safetensors"):
        policy_file.save(network(), tmp_path / "mine.json")
    with pytest.raises(FileNotFoundError):
        policy_file.read(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ("log10 loss / loss0", "speed")}, "unknown feature of a strength 'speed'"),
        ({"features": ("log10 loss / loss0",) * 7}, "must be different ones"),
        ({"layers": []}, "one output"),
        ({"layers": [(np.zeros((1, 3)), np.zeros(1), "linear")]}, "must be finite and have 7 inputs"),
        ({"layers": [(np.full((1, 7), np.nan), np.zeros(1), "linear")]}, "must be finite"),
        ({"layers": [(np.zeros((2, 7)), np.zeros(2), "linear")]}, "one output"),
        ({"layers": [(np.zeros((1, 7)), np.zeros(1), "tanh")]}, "must be linear"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"name": "x", "features": tuple(OBSERVED), "layers": network().layers}
    with pytest.raises(ValueError, match=message):
        StrengthNetwork(**{**given, **change})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (("observation", "bound"), 4.0, "observation.bound is 4.0; this version works with 5.0"),
        (("action", "most"), 2.0, "action.most is 2.0"),
        (("action", "squash"), "tanh", "action.squash must be 'clip'"),
        (("observation", "features"), "all", "must be a list of names"),
        (("extra",), 1, "document: 'extra' not understood"),
        (("schema",), 2, "schema 2 is unknown"),
    ],
)
def test_a_file_of_other_rules_is_refused(key, value, message):
    doc = policy_file.document(network())
    at = doc
    for name in key[:-1]:
        at = at[name]
    at[key[-1]] = value
    arrays = {"layers.0.weight": np.zeros((1, 7)), "layers.0.bias": np.zeros(1)}
    with pytest.raises(ValueError, match=message):
        policy_file.parse(files.container.pack(doc, arrays))


def test_a_strength_is_no_step_size_controller_and_the_other_way_round(tmp_path):
    path = policy_file.save(network(), tmp_path / "mine.safetensors")
    for call in (files.load, files.load_learned, ss.controller):
        with pytest.raises(ValueError, match="holds a strength of a regulariser, no step-size controller"):
            call(str(path))
    with pytest.raises(ValueError, match="'regularization' of the zoo holds a strength"):
        files.load_learned("regularization")
    law = files.save(ss.load_controller("three-body"), tmp_path / "law.safetensors")
    with pytest.raises(ValueError, match="not a file of a trained strength"):
        policy_file.read(law)
    with pytest.raises(ValueError, match=r"unknown trained strength 'regularisation'.*regularization"):
        neural.strength.trained("regularisation")


def test_the_first_window_is_plain_and_then_it_decides():
    strength = neural.strength.ratio(PolicyStrength(network(1.0 / 3.0), 5, None))
    levels = run(strength, 12)
    assert levels[:5] == [0.0] * 5
    # an action of 1/3 is a ratio of one: the scale alone
    assert levels[5] == pytest.approx(strength.inner.level * levels[5] / 1.0) and strength.inner.level == 1.0
    assert levels[11] == pytest.approx(strength.scale) and strength.inner.decisions == 2


def test_it_observes_what_the_environment_observes():
    pytest.importorskip("sklearn")
    from stepsmith.envs.regularization import make_core
    from stepsmith.envs.regularization.observe import OF_RUN

    core = make_core(2, False, observe="run", actions=1, pool_size=2)
    core.seed(np.arange(2).astype(np.uint64))
    core.reset()
    for action in (0.5, -1.0):
        core.step(np.full((2, 1), action))
    for lane in range(2):
        values = {name: float(core.work[name][lane]) for name in core.kernel.layout.rows}
        assert np.array_equal(observed(values, OF_RUN), core.obs[lane]) and OF_RUN == tuple(OBSERVED)


def test_features_of_a_run_are_what_they_say():
    strength = neural.strength.ratio(PolicyStrength(network(0.0), 4, None), every=4)
    run(strength, 4, nfev=30.0)
    first = dict(strength.inner.values)
    assert first["loss"] == first["loss0"] == first["loss_before"] and first["level_e"] == ratio_of(0.0) == -0.5
    run(strength, 4, nfev=60.0)
    v = strength.inner.values
    row = dict(zip(OBSERVED, observed(v, tuple(OBSERVED)), strict=True))
    assert row["log2 nfev / nfev0"] == pytest.approx(1.0) and row["log10 ratio of E"] == -0.5
    assert v["loss_before"] == first["loss"] and row["log10 loss / loss0"] == pytest.approx(0.0, abs=1e-6)
    # gradients of 2 x and 4 x^3 at (2, -1)
    task, penalty = np.array([4.0, -2.0]), np.array([32.0, -4.0])
    cosine = task @ penalty / np.linalg.norm(task) / np.linalg.norm(penalty)
    assert row["cosine of the gradients of loss and E"] == pytest.approx(cosine)
    assert observed({**v, "loss": np.nan}, ("log10 loss / loss0",)) == BOUND


def test_a_run_that_goes_on_is_the_same_and_another_file_is_refused():
    whole = neural.strength.ratio(PolicyStrength(network(0.1, np.full(7, 0.05)), 3, None))
    levels = run(copy.deepcopy(whole), 20)
    run(whole, 9)
    state = json.loads(json.dumps(whole.state_dict()))
    again = neural.strength.ratio(PolicyStrength(network(0.1, np.full(7, 0.05)), 3, None))
    again.load_state_dict(state)
    assert again.inner.values == whole.inner.values
    assert run(copy.deepcopy(again), 6) == run(pickle.loads(pickle.dumps(whole)), 6)
    assert levels[:9] != levels[9:18]
    other = neural.strength.ratio(PolicyStrength(network(0.2), 3, None))
    with pytest.raises(ValueError, match="that of another trained strength"):
        other.load_state_dict(state)
    state["inner_state"]["values"] = {"loss": "much"}
    with pytest.raises(ValueError, match="damaged: values"):
        again.load_state_dict(state)


def test_no_headroom_is_said_and_a_broken_answer_is_none():
    strength = neural.strength.ratio(PolicyStrength(network(-1.0), 2, None))
    with pytest.warns(UserWarning, match=f"none {PATIENCE} times in a row: this task has no headroom"):
        assert set(run(strength, 2 * PATIENCE)) == {0.0}
    assert "no headroom" in strength.off
    broken = PolicyStrength(network(0.0, np.full(7, 1e308)), 2, None)
    broken.network.layers[0][0][:] = np.nan
    strength = neural.strength.ratio(broken)
    assert set(run(strength, 6)) == {0.0} and strength.inner.values["level_e"] == OFF


def test_a_penalty_without_a_gradient_at_first_harms_nothing():
    v, w = torch.zeros(2, dtype=F64, requires_grad=True), torch.ones(2, dtype=F64, requires_grad=True)
    strength = neural.strength.trained(every=3)
    with pytest.warns(UserWarning, match="no group of the parameters"):
        for _ in range(20):
            strength.total((w**2).sum(), (v**2).sum(), [v, w], nfev=20)
    assert strength.last == 0.0 and strength.inner.decisions == 0


def test_a_state_is_a_snapshot_and_an_older_ratio_goes_on():
    strength = neural.strength.trained(every=4)
    run(strength, 6)
    state = strength.state_dict()
    before = copy.deepcopy(state)
    run(strength, 30)
    assert state == before
    old = neural.strength.ratio(0.3).state_dict()
    del old["now"], old["cosine"]
    neural.strength.ratio(0.3).load_state_dict(old)
    shorter = neural.strength.trained(every=2)
    shorter.load_state_dict({**state, "inner_state": {**state["inner_state"], "_count": 3}})
    run(shorter, 3)
    assert shorter.inner.decisions == state["inner_state"]["decisions"] + 2
    with pytest.raises(ValueError, match="damaged: values"):
        shorter.load_state_dict({**state, "inner_state": {**state["inner_state"], "values": {}}})


def test_a_loss_that_is_not_positive_switches_it_off_with_a_word():
    x = torch.ones((), dtype=F64, requires_grad=True)
    strength = neural.strength.trained()
    with pytest.warns(UserWarning, match="the task loss is -1: add a constant to it"):
        strength.total(-(x**2), x**4, [x], nfev=7)
    assert strength.off


def test_sparse_gradients_are_measured():
    table = torch.nn.Embedding(4, 2, sparse=True).double()
    strength = neural.strength.ratio(0.5)
    out = table(torch.tensor([1, 2]))
    strength.total((out**2).sum(), (3.0 * out**2).sum(), table)
    assert strength.scale == pytest.approx(1.0 / 3.0) and strength.cosine == pytest.approx(1.0)


def test_networks_of_other_activations_are_others():
    def deep(activation):
        layers = [(np.ones((2, len(OBSERVED))), np.zeros(2), activation), (np.ones((1, 2)), np.zeros(1), "linear")]
        return StrengthNetwork("x", tuple(OBSERVED), layers)

    assert deep("tanh").digest != deep("relu").digest == deep("relu").digest


def test_what_it_needs_is_said():
    x = torch.ones((), dtype=F64, requires_grad=True)
    strength = neural.strength.trained()
    with pytest.raises(ValueError, match="observes f-evaluations: pass nfev="):
        strength.total(x**2, x**4, [x])
    alone = neural.strength.policy(every=1)
    with pytest.raises(ValueError, match=r"use it as ratio\(policy"):
        alone.total(x**2, x**4, [x], nfev=7)
    for wrong, message in (({"every": 0}, "every"), ({"file": 3}, "a name of the zoo or a path")):
        with pytest.raises(ValueError, match=message):
            neural.strength.policy(**wrong)
    with pytest.raises(ValueError, match="is described by its file: save it"):
        PolicyStrength(network(), 5, None).describe()


@pytest.mark.parametrize(
    "said", ["regularization", "object", "path", "description"]
)
def test_every_way_to_say_it(said, tmp_path):
    path = str(policy_file.save(policy_file.read("regularization"), tmp_path / "copy.safetensors"))
    strength = {
        "regularization": "regularization", "object": ss.load_controller("regularization"),
        "path": path,
        "description": neural.strength.make(**ss.load_controller(path).describe()),
    }[said]  # fmt: skip
    torch.manual_seed(0)
    field = torch.nn.Linear(2, 2).double()
    ode = neural.NeuralODE(lambda t, y: torch.tanh(field(y)), regulariser="er_mean", strength=strength, rtol=1e-4)
    ode.field = field
    assert isinstance(ode.strength, Ratio) and isinstance(ode.strength.inner, PolicyStrength)
    y0 = torch.randn(8, 2, dtype=F64)
    for _ in range(12):
        out = ode(y0, torch.tensor([0.0, 1.0], dtype=F64))
        total = out.total(((out.y[-1] - 2.0 * y0) ** 2).mean())
        total.backward()
    assert ode.strength.inner.decisions == 1 and ode.strength.inner.network.digest == policy_file.read(path).digest
    assert not ode.strength.off and 0.0 <= ode.strength.inner.level <= 10.0
    with pytest.raises(ValueError, match="unknown strength 'autto'"):
        neural.NeuralODE(lambda t, y: y, regulariser="er_mean", strength="autto")
    with pytest.raises(ValueError, match="there is none: pass regulariser too"):
        neural.NeuralODE(lambda t, y: y, strength="auto")


@pytest.mark.parametrize(
    "said", ["auto", neural.strength.auto(), neural.strength.make("auto")], ids=["text", "object", "kind"]
)
def test_auto_is_a_tenth(said):
    ode = neural.NeuralODE(lambda t, y: -y, regulariser="er_mean", strength=said)
    assert ode.strength.describe() == {"kind": "ratio", "of": {"kind": "constant", "value": 0.1}, "every": 32}
    assert neural.strength.make(**ode.strength.describe()).describe() == ode.strength.describe()


def test_a_warm_up_measures_nothing_and_a_ceiling_never_rises():
    x = torch.tensor([2.0], dtype=F64, requires_grad=True)
    strength = neural.strength.ratio(0.5, every=4, warm_up=6, ceiling=True)
    assert strength.describe() == {
        "kind": "ratio", "of": {"kind": "constant", "value": 0.5}, "every": 4, "warm_up": 6, "ceiling": True,
    }  # fmt: skip
    assert neural.strength.make(**strength.describe()).describe() == strength.describe()
    scales = []
    for k in range(40):
        # the ratio of the gradients is 3 in the warm-up, then 1, 2 and again 1/2
        factor = 3.0 if k < 6 else 1.0 if k < 10 else 2.0 if k < 20 else 0.5
        strength.total(factor * x.sum(), x.sum(), [x])
        scales.append(strength.scale)
        assert strength.last == pytest.approx(0.0 if k < 6 else 0.5 * strength.scale)
    assert np.isnan(scales[5]) and strength.measured == len([k for k in range(34) if k in (0, 4, 16) or k % 4 == 0])
    assert set(scales[6:20]) == {1.0} and all(a >= b for a, b in zip(scales[6:], scales[7:], strict=False))
    # half of the way in the logarithm at each of the measurements of 1/2
    assert scales[-1] == pytest.approx(0.5, rel=0.05) and scales[-1] > 0.5


def test_the_zoo_has_it_with_a_card():
    assert zoo.strengths() == ["regularization"] and "regularization" not in zoo.names()
    assert zoo.card("regularization" + zoo.STRENGTH).startswith("# regularization\n")


def test_an_agent_of_stable_baselines3_becomes_one(tmp_path):
    sb3 = pytest.importorskip("stable_baselines3")
    pytest.importorskip("sklearn")
    from stepsmith.policies.export_strength import strength_from_sb3

    venv = ss.envs.make_sb3("stepsmith/Regularization-v0", num_envs=2, pool_size=2, actions=1, observe="run")
    small = {"net_arch": [4], "log_std_init": -1.0}
    model = sb3.PPO("MlpPolicy", venv, n_steps=2, batch_size=4, n_epochs=1, policy_kwargs=small, device="cpu", seed=0)
    model.learn(4)
    made = strength_from_sb3(model, "mine", {"algorithm": "ppo"})
    path = policy_file.save(made, tmp_path / "mine.safetensors")
    obs = venv.reset()
    assert policy_file.read(path)(obs) == pytest.approx(model.predict(obs, deterministic=True)[0], abs=1e-5)
    model.save(tmp_path / "model")
    lone = sb3.PPO.load(tmp_path / "model", device="cpu")
    with pytest.raises(ValueError, match="pass normalised=False if they were not"):
        strength_from_sb3(lone)
    assert strength_from_sb3(lone, normalised=False).digest == made.digest
    other = ss.envs.make_sb3("stepsmith/Regularization-v0", num_envs=2, pool_size=2)
    wrong = sb3.PPO("MlpPolicy", other, n_steps=2, batch_size=4, policy_kwargs=small, device="cpu")
    with pytest.raises(ValueError, match=re.escape('observe="run", actions=1')):
        strength_from_sb3(wrong)
