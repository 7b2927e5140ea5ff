"""Controllers in the three-body paper's set-up: the calls, the fitness, policies on it, and DQN by configuration."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from stepsmith.controllers import file
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.envs.three_body_paper import make_core
from stepsmith.integrators.problems.nbody.three_body_paper import instances
from stepsmith.train.algorithms.evolution import Settings
from stepsmith.train.config import config
from stepsmith.train.evaluate import paper

HIDDEN = (8,)


def net(scale: float, seed: int = 0) -> Learned:
    return Learned.random(Decision(paper.FEATURES, "amuse", n_act=1), HIDDEN, seed, scale=scale)


def test_calls_give_the_known_errors_and_step_counts():
    # an independent scalar implementation of the paper's set-up, seeds 0..99, two digits
    run = paper.calls(instances(range(100)), registry.get("amuse", mu=1e-2))
    assert np.median(run.nfev) - 2 * paper.CALLS == pytest.approx(5148, rel=0.005)
    assert 1.0e-8 < np.median(run.last) < 1.5e-8
    assert 2.5e-7 < np.quantile(run.last, 0.9) < 4.1e-7
    assert np.all(run.largest >= run.last)


@pytest.mark.parametrize("action", [0, 2])
def test_calls_are_decisions_of_the_environment_at_constant_mu(action):
    from stepsmith.envs.three_body_paper import MUS

    core = make_core(12, True, steps=40, seeds=range(12), in_turn=True, energy_limit=np.inf)
    there = paper.play(core, lambda obs: np.full(len(obs), action))
    here = paper.calls(instances(range(12)), registry.get("amuse", mu=float(MUS[action])), count=40)
    assert np.array_equal(here.nfev, there["nfev"]) and np.array_equal(there["nfev"], there["nsteps"] + 80)
    np.testing.assert_allclose(here.largest, there["largest"], rtol=1e-3, atol=1e-13)
    np.testing.assert_allclose(here.last, there["error"], rtol=1e-3, atol=1e-13)
    assert np.any(there["largest"] > 1.01 * there["error"])


def test_no_residual_is_the_criterion():
    batch = instances(range(10))
    a, b = (paper.calls(batch, c, 50) for c in (registry.get("amuse", mu=0.02), paper.with_mu(net(0.0), 0.02)))
    assert np.array_equal(a.nfev, b.nfev) and np.array_equal(a.largest, b.largest)
    c = paper.calls(batch, paper.with_mu(net(1.0), 0.02), 50)
    assert not np.any(c.largest == a.largest)


def test_runs_do_not_depend_on_their_neighbours():
    batch = instances(range(11))
    together = paper.calls(batch, registry.get("amuse", mu=0.05), 20)
    alone = [paper.calls(batch[np.array([i])], registry.get("amuse", mu=0.05), 20) for i in range(11)]
    assert np.array_equal(together.nfev, [a.nfev[0] for a in alone])
    assert np.array_equal(together.largest, [a.largest[0] for a in alone])


def test_a_run_over_the_step_limit_has_failed_and_its_work_counts():
    run = paper.calls(instances(range(5)), registry.get("amuse", mu=0.02), 50, max_steps=30)
    assert np.all(np.isinf(run.largest)) and np.all(np.isinf(run.last)) and np.all(run.nfev >= 30)


def test_the_fitness_of_the_criterion_is_zero_and_that_of_wasted_work_is_not():
    settings = Settings(instances=6, dearest=60_000.0, max_steps=60_000)
    fitness = paper.PaperFitness(settings, pool_size=12)
    fitness.draw(np.random.default_rng(0))
    assert fitness(net(0.0)) == 0.0
    assert np.all((0.12 < fitness.exchange) & (fitness.exchange < 0.3))  # work goes as error^(-1/5) or so
    wild = net(0.0)
    w = wild.weights
    rng = np.random.default_rng(1)
    assert fitness(wild.with_weights(w + 3.0 * rng.standard_normal(w.size))) > 0.02


def test_points_against_curves():
    err, work = np.array([[1e-2, 1e-4], [1e-2, 1e-4], [1e-2, 1e-4], [np.inf, 1e-4]]), np.array([[10.0, 1000.0]] * 4)
    one = paper.at_points(np.array([1e-3, 1e-5, np.inf, 1e-3]), np.array([50.0, 50.0, 50.0, 7.0]), err, work)
    # on the line through both points; more accurate than the curve; failed; looser than what the curve has measured
    np.testing.assert_allclose(one, [np.log(0.5), 0.0, np.log(10.0), np.log(10.0)], rtol=1e-12)
    got = paper.at_family(np.array([1e-4, 1e-2]), np.array([40.0, 60.0]), err[:2], work[:2], "gmean")
    assert got == pytest.approx(np.log(0.5), rel=1e-12)
    assert np.isnan(paper.at_family(np.array([1e-4, np.inf]), np.array([40.0, 60.0]), err[:2], work[:2], "gmean"))
    assert np.isnan(paper.at_family(np.array([1.0]), np.array([40.0]), err[:1], work[:1], "gmean"))


def small(name: str, **train) -> config.Config:
    base = config.load(name)
    return dataclasses.replace(
        base, env={**base.env, "steps": 5, "pool_size": 8},
        train={**base.train, "total_steps": 512, "num_envs": 32, "learning_starts": 64,
        "gradient_steps": 1, "batch_size": 32, **train}, evaluate=config.Evaluate(every=256, instances=6),
    )  # fmt: skip


def test_dqn_in_the_paper_environment(tmp_path):
    pytest.importorskip("tensorboard")
    from stable_baselines3 import DQN

    from stepsmith.train.algorithms.sb3 import train
    from stepsmith.train.algorithms.sb3_checks import ReturnCheck

    cfg = small("three_body_paper_dqn")
    path = train(cfg, tmp_path / "run", progress=False)
    model = DQN.load(path, device="cpu")
    assert model.action_space.n == 10
    lines = [json.loads(text) for text in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and lines[-1]["best"] == min(v["validation"] for v in lines)
    # the kept policy is the one that was measured, on the same instances
    class Run:
        policy = tmp_path / "policy.zip"

    check = ReturnCheck(cfg, Run, None)
    assert check(model) == check(model) == pytest.approx(lines[-1]["best"], rel=1e-6)


def test_dqn_from_a_table_becomes_a_controller(tmp_path):
    pytest.importorskip("tensorboard")
    from stepsmith.train.algorithms.sb3 import train

    cfg = small("three_body_paper_dqn", actions=[-0.5, 0.0, 0.5])
    env = {
        "family": "lotka_volterra",
        "method": "tsit5",
        "law": "pi34",
        "n_act": 1,
        "pool_size": 8,
        "features": ["log_err", "streak"],
    }
    cfg = dataclasses.replace(cfg, env=env)
    learned = file.load(train(cfg, tmp_path / "run", progress=False))
    assert learned.squash == "argmax" and learned.table.tolist() == [[-0.5], [0.0], [0.5]]
    assert learned.measured["validation_ratio"] > 0.0
    with pytest.raises(ValueError, match="give `actions`"):
        train(
            dataclasses.replace(cfg, train={k: v for k, v in cfg.train.items() if k != "actions"}),
            tmp_path / "b",
            progress=False,
        )
    with pytest.raises(ValueError, match=r"actions\[1\] must be a finite number of at least -1"):
        train(dataclasses.replace(cfg, train={**cfg.train, "actions": [0.0, 2.0]}), tmp_path / "c", progress=False)
