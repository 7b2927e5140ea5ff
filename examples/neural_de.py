"""A neural ODE in PyTorch with a trained controller: gradients by exact replay, evaluations and regularisers in the
log.

    python examples/neural_de.py [--quick] [CONTROLLER]        (default: neural-field, the shipped one)
"""

import sys

import torch

import stepsmith as ss


def main(quick: bool, controller: str) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2)).double()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    angle = 6.283 * torch.rand(128, 1, dtype=torch.float64)
    start = torch.cat([angle.cos(), angle.sin()], 1)
    target = torch.cat([(angle + 1.5).cos(), (angle + 1.5).sin()], 1)  # a rotation by 1.5
    span = torch.tensor([0.0, 1.0], dtype=torch.float64)
    law = ss.load_controller(controller)

    for step in range(5 if quick else 100):
        ode = ss.neural.odeint(lambda t, y: net(y), start, span, method="tsit5", controller=law, rtol=1e-4, atol=1e-4)
        miss = (ode.y[-1] - target).square().mean()
        loss = miss + 1e-2 * ode.heuristics.R_E.mean()  # the solver's own error estimate as a regulariser
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 20 == 0 or step == 4:
            print(f"step {step:3}  miss {miss.item():.4f}  R_E {ode.heuristics.R_E.mean().item():.2e}  "
                  f"f-evaluations {ode.stats.nfev}  rejected {ode.stats.nreject}  "
                  f"left to the law {ode.stats.nfallback}")  # fmt: skip


if __name__ == "__main__":
    given = [a for a in sys.argv[1:] if a != "--quick"]
    main("--quick" in sys.argv, given[0] if given else "neural-field")
