"""Memory of each adjoint against the number of steps, and the gradients' distance from the exact one, with a picture.

    python benchmarks/neural_adjoints.py [--out docs/neural_memory.png]

A batch of 256 states of 16 features in a 16-64-16 tanh field, float64, tsit5 with constant steps, one step size for the
batch. Counted are bytes of tensors alive, exactly and without noise: every tensor that an operation makes is registered
until it is freed. "kept" is what lives between the forward and the backward pass above what lived before, the answer
included; "peak" the most that lived at any time until the backward pass is over.  f-evaluations are those of both
passes.
"""

from __future__ import annotations

import argparse
import os
import weakref
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import stepsmith as ss
from stepsmith.controllers.laws import registry

STEPS = (5, 10, 20, 40, 80, 160)
KINDS = {
    "discrete": {"adjoint": "discrete"},
    "discrete, heuristics": {"adjoint": "discrete", "heuristics": True},
    "discrete, checkpoint_every=4": {"adjoint": "discrete", "checkpoint_every": 4},
    "interpolating": {"adjoint": "interpolating"},
    "backsolve": {"adjoint": "backsolve"},
}


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operations under it have made and that are still alive: `now`, and the most ever,
    `peak`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                self._add(x.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def measure(steps: int, options: dict) -> tuple[int, int, int, list[torch.Tensor]]:
    """Bytes kept, peak bytes, evaluations, and the gradients."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 16)).double()

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, t, y):
            return self.net(y)

    # a hair longer than its share, so that rounding adds no step at the end
    field, h = Net(), 2.0 / steps * (1 + 1e-12)
    y0 = torch.randn(256, 16, dtype=torch.float64, requires_grad=True)
    options = {"heuristics": False, **options}
    with LiveBytes() as live:
        sol = ss.neural.odeint(
            field, y0, torch.tensor([0.0, 2.0]), "tsit5", registry.get("constant", h=h), first_step=h, per_sample=False,
            rtol=1e-6,
            atol=1e-6, **options,
        )  # fmt: skip
        kept = live.now
        grads = torch.autograd.grad(sol.y[-1].square().sum(), [y0, *field.parameters()])
    s = sol.stats
    return kept, live.peak, s.nfev + s.nfev_replay + s.nfev_backward, list(grads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/neural_memory.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    state = 256 * 16 * 8
    exact = measure(640, KINDS["discrete"])[3]
    found = {name: [measure(n, options) for n in STEPS] for name, options in KINDS.items()}
    print("| adjoint | steps | kept, states | peak, states | f-evaluations | distance of the gradients |")
    print("|---|---|---|---|---|---|")
    for name, rows in found.items():
        for n, (kept, peak, calls, grads) in zip(STEPS, rows, strict=True):
            off = max(((a - b).norm() / b.norm()).item() for a, b in zip(grads, exact, strict=True))
            print(f"| {name} | {n} | {kept / state:.1f} | {peak / state:.1f} | {calls} | {off:.1e} |")

    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.8), sharey=True, layout="constrained")
    for which, (ax, title) in enumerate(zip(axes, ("kept for the backward pass", "peak of both passes"), strict=True)):
        for (name, rows), mark in zip(found.items(), "os^Dv", strict=True):
            ax.loglog(STEPS, [row[which] / 2**20 for row in rows], marker=mark, label=name, markersize=5)
        ax.set_title(title)
        ax.set_xlabel("steps (tsit5)")
        ax.set_xticks(STEPS, [str(n) for n in STEPS])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("tensors alive, MiB")
    axes[1].set_ylim(bottom=0.1)
    axes[1].legend(fontsize=8, loc="lower right")
    figure.savefig(args.out, dpi=130)
    print(f"{args.out} written")


if __name__ == "__main__":
    main()
