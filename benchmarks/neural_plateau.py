"""A task whose training rests on a plateau at first, under strengths that begin at once, late, and measured more often.

    python benchmarks/neural_plateau.py [--seeds 3] [--epochs 40]

The task is a latent ODE (recurrent encoder, six latent numbers, a 6-40-40-6 field) on 256 damped oscillators of
different frequencies, seen at 24 irregular times with two values in five missing.  Until the field turns, the
prediction is a mean over the frequencies: that is the plateau.  All solve with a warm start and even steps at 1e-6
(tsit5, PI34).  The table has the squared error on 64 other oscillators and the f-evaluations of training over those
without a regulariser, mean, least and largest of the seeds, and the f-evaluations of a prediction.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

import stepsmith as ss

ratio = ss.neural.strength.ratio
STRENGTHS: dict[str, Any] = {
    "none": None,
    '"auto"': lambda: "auto",
    "ratio(0.1, every=4)": lambda: ratio(0.1, every=4),
    "ratio(0.1, warm_up=64, ceiling=True)": lambda: ratio(0.1, warm_up=64, ceiling=True),
}


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 6))
        self.net = nn.Sequential(*layers)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.net(z)


class Latent(nn.Module):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.head = nn.GRU(5, 32, batch_first=True), nn.Linear(32, 12)
        self.ode, self.decoder = ss.neural.NeuralODE(Field(), rtol=1e-6, atol=1e-6, **options), nn.Linear(6, 2)

    def forward(self, y: Tensor, mask: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Any]:
        gaps = torch.diff(t, prepend=t[:1])[None, :, None].expand(len(y), -1, 1)
        _, code = self.encoder(torch.cat([y * mask, mask.expand_as(y), gaps], -1).flip(1))
        mean, logvar = self.head(code[0]).chunk(2, -1)
        out = self.ode(mean + torch.randn_like(mean) * (0.5 * logvar).exp(), t)
        divergence = -0.5 * (1.0 + logvar - mean**2 - logvar.exp()).sum(1).mean()
        return self.decoder(out.y).transpose(0, 1), divergence, out


def data() -> tuple[Tensor, Tensor, Tensor]:
    """Times (24,), values (320, 24, 2) and masks (320, 24, 1)."""
    draw = torch.Generator().manual_seed(7)
    t = torch.sort(5.0 * torch.rand(24, generator=draw)).values
    t[0] = 0.0
    angle = (1.0 + 2.0 * torch.rand(320, 1, generator=draw)) * t + 6.28 * torch.rand(320, 1, generator=draw)
    y = torch.exp(-0.15 * t)[None, :, None] * torch.stack([angle.sin(), angle.cos()], -1)
    mask = (torch.rand(320, 24, 1, generator=draw) < 0.6).to(y)
    return t, y + 0.05 * torch.randn(y.shape, generator=draw), mask


def run(make: Any, seed: int, epochs: int) -> tuple[float, int, int]:
    """(squared error on the test series, f-evaluations of training, those of a prediction)."""
    torch.manual_seed(seed)
    regular = {} if make is None else {"regulariser": "er_mean", "strength": make()}
    model = Latent({"warm_start": True, "even_steps": True, **regular})
    t, y, mask = data()
    optimiser, evaluations = torch.optim.Adam(model.parameters(), 4e-3), 0
    for _ in range(epochs):
        for rows in torch.randperm(256).split(64):
            prediction, divergence, out = model(y[rows], mask[rows], t)
            error = ((prediction - y[rows]) ** 2 * mask[rows]).sum((1, 2)).mean()
            loss = error / 0.02 + 0.1 * divergence
            if make is not None:
                loss = out.total(loss)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            evaluations += out.solution.stats.nfev
    model.eval()
    with torch.no_grad():
        prediction, _, out = model(y[256:], mask[256:], t)
    return float((prediction - y[256:]).square().mean()), evaluations, out.solution.stats.nfev


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| strength | squared error | training, of none | a prediction |\n|" + "---|" * 4, flush=True)
    plain: list[int] = []
    for name, make in STRENGTHS.items():
        runs = [run(make, seed, args.epochs) for seed in range(args.seeds)]
        plain = plain or [work for _, work, _ in runs]
        shares = [work / base for (_, work, _), base in zip(runs, plain, strict=True)]
        cells = [f"{sum(x) / len(x):.3g} ({min(x):.3g}..{max(x):.3g})" for x in ([r[0] for r in runs], shares)]
        print(f"| {name} | {' | '.join(cells)} | {sum(r[2] for r in runs) / len(runs):.0f} |", flush=True)


if __name__ == "__main__":
    main()
