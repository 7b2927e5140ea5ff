"""Networks that see the last observations: compiled lanes, NumPy and torch agree, and files hold how many there are."""

import numpy as np
import pytest
import torch

import stepsmith as ss
from decisions import play_compiled, play_numpy, records
from stepsmith.controllers.file import describe, document, load, save
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators import problems
from stepsmith.integrators.core.runner import Runner
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.kernels import build

FEATURES = ("log_err", "log_ratio_1")


def make(frames=3, hidden=(4,), seed=1, **rest):
    d = Decision(FEATURES, "pi34", **rest)
    rng = np.random.default_rng(seed)
    sizes = [frames * d.n_obs, *hidden, d.n_act]
    layers = [
        (rng.normal(size=(b, a)), rng.normal(size=b) / 3, "tanh" if i < len(hidden) else "linear")
        for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
    ]
    return Learned(d, layers, "clip", frames=frames, family="lotka_volterra", provenance={"method": "tsit5"})


@pytest.mark.parametrize("written_out", [True, False])
def test_compiled_lanes_decide_as_numpy_and_torch(written_out, monkeypatch):
    monkeypatch.setattr(build.fuse, "LARGEST", 256 if written_out else 0)
    c, recs = make(shift=[0.1, 0.2], scale=[2.0, 1.0], obs_clip=1.5), records(3, 8, 20)
    expected, state = play_numpy(c, recs)
    got, after = play_compiled(c, recs)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(after[: c.n_kept], state[: c.n_kept], rtol=0, atol=1e-12)
    host = Runner(c, 8, "torch")
    for r, want in zip(recs, expected, strict=True):
        answer = host.decide([torch.tensor(row) for row in r])
        np.testing.assert_allclose(np.array([np.asarray(a) for a in answer]), want, rtol=0, atol=1e-12)


def test_the_stack_holds_the_last_observations_and_zeros_before():
    c, recs = make(3), records(4, 5, 6)
    d, state = c.decision, np.full((c.n_state, 5), 7.0)
    c.init(c.params, state)
    seen = [np.zeros((d.n_obs, 5))] * 2
    for r in recs:
        c.decide_numpy(state, r)
        seen.append(state[d.obs_at : d.act_at].copy())
        np.testing.assert_array_equal(state[d.n_state : c.n_kept], np.concatenate(seen[-3:]))
        want = c.action_numpy(np.concatenate(seen[-3:]).T)
        np.testing.assert_allclose(np.clip(state[d.act_at : d.n_state].T, -1, 1), want, rtol=0, atol=1e-14)


def test_lanes_start_afresh_and_take_the_steps_of_single_solves():
    """More trajectories than lanes, so that a lane has a past when its next trajectory begins."""
    c, family = make(), problems.family("lotka_volterra")
    batch = family.split("train", 150, 0)
    ens = solve_ensemble(batch, "tsit5", c, 1e-4, 1e-7, threads=1)
    assert ens.success.all()
    for i in (0, 70, 149):
        one = ss.solve(batch[i], "tsit5", c, 1e-4, 1e-7)
        assert one.stats.nfev == ens.stats.nfev[i] and one.stats.nreject == ens.stats.nreject[i]
        np.testing.assert_allclose(ens.y[i], one.y[-1], rtol=1e-8)


def test_the_file_holds_the_frames(tmp_path):
    c = make(4)
    back = load(save(c, tmp_path / "c.safetensors"))
    assert back.frames == 4 and back.key == c.key and back.n_state == c.n_state
    assert document(c)["observation"]["frames"] == 4 and "last 4 attempts" in describe(c)
    assert "frames" not in document(Learned.random(Decision(FEATURES, "i"), rng=0))["observation"]
    assert c.replace(name="x").frames == 4 and c.with_weights(c.weights).frames == 4
    assert make(2).key != make(3, seed=2).key


@pytest.mark.parametrize(("frames", "message"), [(0, "frames"), (65, "frames"), (2.5, "frames"), (2, r"\(n_out, 4\)")])
def test_bad_frames_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        Learned(Decision(FEATURES, "i"), [(np.zeros((2, 6)), np.zeros(2), "linear")], frames=frames)
