"""How much an episode tells a policy gradient, by reward: score-function estimates against finite differences.

    python benchmarks/reward_signal.py [--family three_body] [--noise 0.1] [--steps 1500] [--lanes 1024] [--json]

The base law with Gaussian exploration noise on its log-factor (action units) and a small shift b of the noise's mean,
once the same everywhere ("level") and once in proportion to a feature ("shape", `--feature`).  The score-function
estimate of d return / d b, the sum over attempts of (noise/sigma^2) d(mean)/db times the discounted return-to-go less
its mean, is what PPO and its kin climb. Printed: the finite difference of the mean return (the truth, where the
discount is 1), the estimate, its standard error over episodes, and the signal: the ratio of the two, scaled to a
million attempts.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from figures.save import parsed

from stepsmith.envs.ode import make_core

REWARDS = (("matched", 1.0), ("matched_end", 1.0), ("propagated", 1.0), ("propagated", 0.98))


def play(core, noise: float, shift: float, feature: int | None, steps: int, discount: float, seed: int = 0):
    """(returns (E,), score-weighted returns-to-go (E,), attempts) of the episodes that ended."""
    lanes = core.lanes
    core.seed(np.arange(lanes, dtype=np.uint64))
    obs = core.reset().copy()
    rng = np.random.default_rng(seed)
    scores, rewards, ends = (np.zeros((steps, lanes)) for _ in range(3))
    attempts = 0
    for k in range(steps):
        direction = np.ones(lanes) if feature is None else np.tanh(obs[:, feature])
        eps = rng.standard_normal(lanes)
        action = np.zeros((lanes, core.decision.n_act), np.float32)
        action[:, 0] = np.clip(shift * direction + noise * eps, -1, 1)
        core.step(action)
        scores[k], rewards[k] = eps / noise * direction, core.reward
        ends[k] = core.terminated | core.truncated
        obs = core.obs.copy()
        attempts += lanes
    # returns-to-go; what has not ended by the last step is left out
    togo, whole = np.zeros((steps, lanes)), np.zeros((steps, lanes), bool)
    g, known = np.zeros(lanes), np.zeros(lanes, bool)
    for k in range(steps - 1, -1, -1):
        over = ends[k] > 0
        g = rewards[k] + discount * np.where(over, 0.0, g)
        known = known | over
        togo[k], whole[k] = g, known
    togo -= togo[whole].mean()
    returns, estimates = [], []
    for lane in range(lanes):
        last = -1
        for end in np.flatnonzero(ends[:, lane]):
            span = slice(last + 1, end + 1)
            returns.append(rewards[span, lane].sum())
            estimates.append((scores[span, lane] * togo[span, lane]).sum())
            last = end
    return np.array(returns), np.array(estimates), attempts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="three_body")
    parser.add_argument("--method", default="tsit5")
    parser.add_argument("--law", default="tuned")
    parser.add_argument("--feature", default="log_curv")
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--delta", type=float, default=0.03)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--lanes", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    a = parsed(parser)
    rows = []
    for reward, discount in REWARDS:
        core = make_core(a.lanes, True, a.family, a.method, law=a.law, baseline=a.law, band=True, reward=reward)
        at = core.decision.observation.features.index(a.feature)
        for name, feature in (("level", None), ("shape", at)):
            up, _, _ = play(core, a.noise, a.delta, feature, a.steps, discount)
            down, _, _ = play(core, a.noise, -a.delta, feature, a.steps, discount)
            returns, scores, attempts = play(core, a.noise, 0.0, feature, a.steps, discount)
            error = scores.std() / np.sqrt(len(scores))
            rows.append(
                {
                    "reward": reward,
                    "discount": discount,
                    "direction": name,
                    "episodes": len(returns),
                    "return": returns.mean(),
                    "difference": (up.mean() - down.mean()) / (2 * a.delta),
                    "difference_error": np.hypot(up.std() / np.sqrt(len(up)), down.std() / np.sqrt(len(down)))
                    / (2 * a.delta),
                    "estimate": scores.mean(),
                    "standard_error": error,
                    "signal": abs(scores.mean()) / error * np.sqrt(1e6 / attempts),
                }
            )
    if a.json:
        print(json.dumps(rows, indent=1))
        return
    print("| reward | discount | direction | mean return | finite difference | score estimate | signal, 1 M attempts |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['reward']} | {r['discount']} | {r['direction']} | {r['return']:.3g} "
            f"| {r['difference']:.3g} +- {r['difference_error']:.2g} | {r['estimate']:.3g} +- "
            f"{r['standard_error']:.2g} "
            f"| {r['signal']:.1f} |"
        )


if __name__ == "__main__":
    main()
