"""A regulariser and its strength in a plain torchode loop: three sorts of wine told apart, without and with it.

    python examples/strength_torchode.py [--strength constant|exponential|dual_ascent|bandit] [--quick]
"""

import argparse

import torch
import torchode as to
from sklearn.datasets import load_wine

import stepsmith as ss

RULES = {"constant": {"value": 0.3}, "exponential": {"l0": 3.0, "l1": 0.1, "n": 100}, "dual_ascent": {}, "bandit": {}}


def solve(func, y0: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """States (T, B, D): torchode's own are (B, T, D), and its times (B,)."""
    term = to.ODETerm(lambda t, y: func(t[:, None], y))
    solver = to.AutoDiffAdjoint(to.Dopri5(term), to.IntegralController(1e-5, 1e-5, term=term))
    return solver.solve(to.InitialValueProblem(y0, t_eval=t.repeat(len(y0), 1))).ys.transpose(0, 1)


def train(x: torch.Tensor, label: torch.Tensor, iterations: int, strength: ss.neural.strength.Strength | None) -> str:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(13, 32), torch.nn.Tanh(), torch.nn.Linear(32, 13)).double()
    head, t, calls = torch.nn.Linear(13, 3).double(), torch.tensor([0.0, 1.0]).double(), []
    net.register_forward_hook(lambda *_: calls.append(1))
    optimiser = torch.optim.Adam([{"params": module.parameters()} for module in (net, head)], lr=0.03)
    # E h of one step at a random time: its size is the automatic one, since torchode does not tell its own
    step = {"step": "automatic", "method": "dopri5", "rtol": 1e-5, "atol": 1e-5}
    regulariser = ss.neural.regulariser("local_unbiased", **step)
    for _ in range(iterations):
        plan, before = regulariser.plan(lambda t, y: net(y), x[::2], t), len(calls)
        states = solve(plan.func, plan.y0, plan.t)
        nfev = len(calls) - before
        loss = torch.nn.functional.cross_entropy(head(states[-1]), label[::2])
        if strength is not None:
            y, penalty = plan.read(states)
            loss = strength.total(loss, penalty, optimiser, nfev=nfev)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    trained, end = len(calls), solve(lambda t, y: net(y), x[1::2], t)[-1]
    right = (head(end).argmax(1) == label[1::2]).double().mean()
    return f"f-evaluations {trained} in training, {len(calls) - trained} of a test solve  accuracy {right:.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--strength", choices=RULES, default="constant")
    parser.add_argument("--quick", action="store_true")
    args, (x, label) = parser.parse_args(), (torch.from_numpy(a) for a in load_wine(return_X_y=True))
    rule = ss.neural.strength.make(args.strength, **RULES[args.strength])
    strength = ss.neural.strength.ratio(rule)  # how hard the penalty pulls, in units of the task loss's pull
    for name, given in (("none", None), (args.strength, strength)):
        print(f"{name:12}", train((x - x.mean(0)) / x.std(0), label, 5 if args.quick else 100, given))
