"""Exported policies answer as SB3's `predict(deterministic=True)`; what is not understood is refused by name.  Nothing
is trained.
"""

import functools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from stepsmith.controllers.file import load, save
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.observation import TIER0
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import LOG_FACTOR, N_OUT
from stepsmith.policies.export import from_sb3

torch.set_num_threads(1)


class Dummy(gymnasium.Env):
    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def env(decision, n=None, low=-1.0, high=1.0):
    observation = spaces.Box(-np.inf, np.inf, (decision.n_obs,), np.float32)
    return Dummy(observation, spaces.Discrete(n) if n else spaces.Box(low, high, (decision.n_act,), np.float32))


def stir(model, scale=1.5):
    """Weights as far from their start as training may bring them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.policy.parameters():
            p.add_(scale * torch.randn_like(p) / np.sqrt(p.shape[-1]))
    return model


def observations(decision, n=400, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(decision.observation.low, decision.observation.high, (n, decision.n_obs)).astype(np.float32)


def make(name, decision, arch=(16,), act=torch.nn.Tanh):
    kwargs = {"net_arch": list(arch), "activation_fn": act}
    if name == "DQN":
        return stir(DQN("MlpPolicy", env(decision, 7), policy_kwargs=kwargs, buffer_size=10, device="cpu", seed=0))
    if cls := {"SAC": SAC, "TD3": TD3, "DDPG": DDPG}.get(name):
        return stir(cls("MlpPolicy", env(decision), policy_kwargs=kwargs, buffer_size=10, device="cpu", seed=0))
    cls = {"PPO": PPO, "A2C": A2C}[name]
    return stir(cls("MlpPolicy", env(decision), policy_kwargs=kwargs, device="cpu", seed=0))


TABLE = np.linspace(-1, 1, 7)
CASES = [
    ("PPO", (16,), torch.nn.Tanh), ("PPO", (32, 32), torch.nn.ReLU), ("PPO", (), torch.nn.Tanh),
    ("A2C", (8,), torch.nn.Tanh),
    ("SAC", (16,), torch.nn.ReLU), ("SAC", (24, 8), torch.nn.Tanh), ("DQN", (16, 16), torch.nn.ReLU),
    ("TD3", (16,), torch.nn.ReLU), ("TD3", (), torch.nn.ReLU), ("DDPG", (24, 8), torch.nn.Tanh),
]  # fmt: skip


def log_factors(learned, actions):
    """Log-factor on one easy record for each action: what the step size gets to see of it."""
    d, out = learned.decision, []
    record = np.full(R.N_RECORD, np.nan)
    record[[R.ERR, R.H, R.H_FREE, R.ORDER, R.TRUNCATED, R.FINITE]] = 0.5, 0.1, 0.1, 5.0, 0.0, 1.0
    for a in actions:
        state, answer = np.zeros(d.n_state), np.zeros(N_OUT)
        state[d.act_at :] = a
        d.apply(d.params, state, record, answer)
        out.append(answer[LOG_FACTOR])
    return np.array(out)


ACTIVATIONS = [
    torch.nn.ELU, torch.nn.SiLU, torch.nn.GELU, functools.partial(torch.nn.GELU, approximate="tanh"),
    torch.nn.LeakyReLU, functools.partial(torch.nn.LeakyReLU, 0.3),
]  # fmt: skip


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_parity_of_activations(act, tmp_path):
    decision = Decision(law="pi34")
    model = make("PPO", decision, (16, 8), act)
    learned = load(save(from_sb3(model, decision), tmp_path / "c.safetensors"))
    obs = observations(decision)
    np.testing.assert_allclose(
        learned.action_numpy(obs), model.predict(obs, deterministic=True)[0], rtol=0, atol=5e-6
    )


@pytest.mark.parametrize("cls", [PPO, A2C])
def test_parity_of_discrete_actions(cls):
    decision = Decision(law="pi34")
    model = stir(cls("MlpPolicy", env(decision, 5), policy_kwargs={"net_arch": [8]}, device="cpu", seed=0))
    table = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    learned = from_sb3(model, decision, actions=table)
    obs = observations(decision)
    theirs = model.predict(obs, deterministic=True)[0]
    assert len(np.unique(theirs)) > 2 and learned.squash == "argmax"
    np.testing.assert_array_equal(learned.action_numpy(obs), table[theirs])


def contributed(name, decision, arch, **kwargs):
    cls = getattr(pytest.importorskip("sb3_contrib"), name)
    kwargs = {"policy_kwargs": {"net_arch": list(arch)}, "buffer_size": 10, "device": "cpu", "seed": 0, **kwargs}
    return cls("MlpPolicy", env(decision), **kwargs)


@pytest.mark.parametrize("arch", [(), (16,), (12, 8)])
@pytest.mark.parametrize("name", ["TQC", "CrossQ"])
def test_parity_of_contributed_algorithms(name, arch):
    """CrossQ's normalisations have statistics and scales as after training; they are folded into the layers."""
    decision = Decision(law="pi34")
    model = stir(contributed(name, decision, arch))
    rng = np.random.default_rng(2)
    for module in model.policy.actor.modules():
        if hasattr(module, "ra_mean"):
            n = module.num_features
            module.ra_mean.copy_(torch.tensor(rng.normal(size=n)))
            module.ra_var.copy_(torch.tensor(rng.uniform(0.1, 4.0, n)))
    learned = from_sb3(model, decision)
    obs = observations(decision)
    theirs = model.predict(obs, deterministic=True)[0]
    assert learned.squash == "tanh" and np.std(theirs) > 0.05
    assert [n for _, n, _ in learned.shapes] == [*arch, 2]
    np.testing.assert_allclose(learned.action_numpy(obs), theirs, rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", ["TQC", "CrossQ"])
def test_contributed_exploration_by_state_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} policies with state-dependent exploration.*use_sde=False"):
        from_sb3(contributed(name, D, (4,), use_sde=True), D)


def test_a_recurrent_policy_names_what_to_do_instead():
    model = pytest.importorskip("sb3_contrib").RecurrentPPO("MlpLstmPolicy", env(D), device="cpu")
    with pytest.raises(ValueError, match=r"recurrent policies cannot be exported.*VecFrameStack"):
        from_sb3(model, D)


def test_batch_normalisation_is_folded():
    model = stir(ppo(net_arch=[8, 8]))
    net = model.policy.mlp_extractor.policy_net
    norm = torch.nn.BatchNorm1d(8)
    with torch.no_grad():
        for p in (norm.running_mean, norm.weight, norm.bias):
            p.copy_(torch.randn(8))
        norm.running_var.copy_(torch.rand(8) + 0.2)
    net.insert(2, norm)
    net.insert(0, torch.nn.BatchNorm1d(8, affine=False))
    obs = observations(D)
    theirs = model.predict(obs, deterministic=True)[0]
    np.testing.assert_allclose(from_sb3(model, D).action_numpy(obs), theirs, rtol=0, atol=5e-6)
    net.insert(3, torch.nn.ReLU())
    with pytest.raises(ValueError, match="layer of type ReLU"):
        from_sb3(model, D)


@pytest.mark.parametrize(("name", "arch", "act"), CASES)
def test_parity(name, arch, act):
    n_act = 1 if name == "DQN" else 2
    decision = Decision(law="pi34", n_act=n_act)
    model = make(name, decision, arch, act)
    learned = from_sb3(model, decision, actions=TABLE if name == "DQN" else None, name="x", family="lorenz")
    obs = observations(decision)
    theirs, _ = model.predict(obs, deterministic=True)
    ours = learned.action_numpy(obs)
    if name == "DQN":
        assert len(np.unique(theirs)) > 2
        theirs = TABLE[theirs][:, None]
    assert np.std(ours) > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)
    np.testing.assert_allclose(
        log_factors(learned, ours), log_factors(learned, theirs.astype(float)), rtol=0, atol=1e-5
    )
    squash = {"SAC": "tanh", "TD3": "tanh", "DDPG": "tanh", "DQN": "argmax"}.get(name, "clip")
    assert learned.squash == squash and learned.family == "lorenz"


def test_parity_with_state_dependent_exploration():
    decision = Decision(law="pi34")
    model = stir(PPO("MlpPolicy", env(decision), use_sde=True, device="cpu", seed=0, policy_kwargs={"net_arch": [8]}))
    theirs, _ = model.predict(observations(decision), deterministic=True)
    ours = from_sb3(model, decision).action_numpy(observations(decision))
    assert np.std(ours) > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)


def test_observation_statistics(tmp_path):
    decision = Decision(TIER0, "pi34")
    venv = VecNormalize(DummyVecEnv([lambda: env(decision)]), clip_obs=1.5)
    venv.obs_rms.mean, venv.obs_rms.var = np.linspace(-1, 1, 8), np.linspace(0.2, 3.0, 8)
    model = stir(PPO("MlpPolicy", venv, device="cpu", seed=0, n_steps=8, batch_size=8))
    raw = observations(decision)
    theirs, _ = model.predict(venv.normalize_obs(raw).astype(np.float32), deterministic=True)
    for normaliser in (None, venv):
        learned = load(save(from_sb3(model, decision, normaliser), tmp_path / "c.safetensors"))
        d = learned.decision
        seen = np.clip((raw - d.shift) * d.scale, -d.obs_clip, d.obs_clip)
        assert d.obs_clip == 1.5 and np.any(np.abs(seen) == 1.5)
        np.testing.assert_allclose(learned.action_numpy(seen), theirs, rtol=0, atol=5e-6)
    with pytest.raises(ValueError, match="normaliser already"):
        from_sb3(model, decision.replace(shift=np.ones(8)))


def test_a_table_over_a_criterion():
    decision = Decision(("log_h_tau", "log_left"), registry.amuse(), n_act=1, residual_scale=4.0)
    model = stir(DQN("MlpPolicy", env(decision, 7), buffer_size=10, device="cpu", seed=0))
    learned = from_sb3(model, decision, actions=TABLE)
    obs = observations(decision)
    np.testing.assert_allclose(learned.action_numpy(obs)[:, 0], TABLE[model.predict(obs, deterministic=True)[0]])


class Scaling(BaseFeaturesExtractor):
    def forward(self, x):
        return 2.0 * x


D = Decision(TIER0, "pi34")


def ppo(**policy_kwargs):
    return PPO("MlpPolicy", env(D), policy_kwargs=policy_kwargs, device="cpu")


def layer_norm():
    model = ppo()
    model.policy.mlp_extractor.policy_net.append(torch.nn.LayerNorm(64))
    return model


def altered():
    """A policy whose own answer is not what its layers say."""
    model = ppo()
    stir(model)
    plain = model.predict
    model.predict = lambda obs, **kw: (0.5 * plain(obs, **kw)[0], None)
    return model


def recurrent():
    model = ppo()
    model.policy.lstm_actor = torch.nn.Identity()
    return model


def dict_observation():
    e = env(D)
    e.observation_space = spaces.Dict({"a": e.observation_space})
    return PPO("MultiInputPolicy", e, device="cpu")


def image_observation():
    e = Dummy(spaces.Box(0, 255, (36, 36, 3), np.uint8), spaces.Box(-1, 1, (2,), np.float32))
    return PPO("CnnPolicy", e, device="cpu")


REFUSED = [
    (lambda: ppo(activation_fn=torch.nn.Mish), {}, "layer of type Mish cannot be exported here: Linear, each followed"),
    (lambda: ppo(activation_fn=functools.partial(torch.nn.ELU, 2.0)), {}, "layer of type ELU with alpha 2 "),
    (layer_norm, {}, "layer of type LayerNorm"),
    (
        lambda: ppo(features_extractor_class=Scaling, features_extractor_kwargs={"features_dim": 8}),
        {},
        "extractor of type Scaling",
    ),
    (lambda: SAC("MlpPolicy", env(D), use_sde=True, buffer_size=10, device="cpu"), {}, "state-dependent exploration"),
    (recurrent, {}, "recurrent policies cannot .* log_err_1"),
    (altered, {}, "does not reproduce"),
    (dict_observation, {}, "must observe a Box of shape"),
    (image_observation, {}, "must observe a Box of shape"),
    (lambda: PPO("MlpPolicy", env(Decision(law="i")), device="cpu"), {}, r"must observe a Box of shape \(8,\)"),
    (lambda: PPO("MlpPolicy", env(D, high=2.0), device="cpu"), {}, "bounded by -1 and 1"),
    (lambda: PPO("MlpPolicy", env(D.replace(n_act=1)), device="cpu"), {}, r"must act in a Box of shape \(2,\)"),
    (
        lambda: PPO("MlpPolicy", env(D, 7), device="cpu"),
        {},
        "PPO chooses among discrete actions: give `actions`",
    ),
    (lambda: DQN("MlpPolicy", env(D, 7), buffer_size=10, device="cpu"), {}, "give `actions`"),
    (
        lambda: DQN("MlpPolicy", env(D, 7), buffer_size=10, device="cpu"),
        {"actions": np.zeros((3, 2))},
        "has 7 actions, the table 3",
    ),
    (ppo, {"actions": TABLE}, "actions are for DQN and for discrete PPO and A2C"),
    (
        lambda: PPO("MlpPolicy", Dummy(env(D).observation_space, spaces.MultiDiscrete([3, 3])), device="cpu"),
        {},
        "use a Discrete space",
    ),
    (lambda: object(), {}, "must observe a Box"),
]


@pytest.mark.parametrize(("make_model", "kw", "message"), REFUSED)
def test_what_is_not_understood_is_refused(make_model, kw, message):
    with pytest.raises(ValueError, match=message):
        from_sb3(make_model(), D, **kw)
