"""Memory of each adjoint and checkpoint scheme against the number of steps, with a picture.

    python benchmarks/neural_adjoints.py [--out docs/neural_memory.png] [--steps 10 100 1000 10000]

A batch of 16 states of 16 features in a 16-64-16 tanh field, float64, tsit5 with constant steps, one step size for the
batch.  Every solve runs in a process of its own, after a small one that brings in what torch loads on its way, and
twice: once to count the bytes of tensors alive, exactly and without noise (every tensor that an operation makes is
registered until it is freed), and once to see by how much the process grows (its peak, the objects of the graph
included).  Both are the most at any time until the backward pass is over, above what was there before.  f-evaluations
are those of both passes; distances are those of the gradients from the discrete one at the same steps.  Beyond 1,000
steps the process alone is measured, since counting is slow; the rest is "-" in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import weakref
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
from figures.save import parsed

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import stepsmith as ss
from stepsmith.controllers.laws import registry

STEPS = (10, 100, 1000, 10_000)
#: the most steps with which tensors are counted
COUNTED = 1000
KINDS: dict[str, dict] = {
    "discrete": {"adjoint": "discrete"},
    "discrete, E and S": {"adjoint": "discrete", "heuristics": True},
    "checkpoint_every=10": {"checkpoint_every": 10},
    'checkpoint="auto", 100 MB': {"checkpoint": "auto", "checkpoint_mb": 100.0},
    'checkpoint="auto", 10 MB': {"checkpoint": "auto", "checkpoint_mb": 10.0},
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


class Net(torch.nn.Module):
    """The field."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 16)).double()

    def forward(self, t, y):
        return self.net(y)


def solve(steps: int, options: dict) -> tuple[int, list[torch.Tensor]]:
    """A solve of so many steps and its gradient; the number of f-evaluations, and the gradients."""
    # a hair longer than its share, so that rounding adds no step at the end
    field, h = Net(), 2.0 / steps * (1 + 1e-12)
    y0 = torch.randn(16, 16, dtype=torch.float64, requires_grad=True)
    options = {"heuristics": False, "max_steps": 10 * steps, "rtol": 1e-6, "atol": 1e-6, **options}
    law = registry.get("constant", h=h)
    sol = ss.neural.odeint(field, y0, torch.tensor([0.0, 2.0]), "tsit5", law, first_step=h, per_sample=False, **options)
    grads = torch.autograd.grad(sol.y[-1].square().sum(), [y0, *field.parameters()])
    s = sol.stats
    return s.nfev + s.nfev_replay + s.nfev_backward, list(grads)


def size(name: str) -> float:
    """The process's size in bytes, now ("VmRSS") or at its largest ("VmHWM"); Linux only."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024.0 * int(status.split(f"{name}:")[1].split()[0])


def one(kind: str, steps: int, way: str) -> dict[str, float]:
    """What one process measures: the "tensors" alive at most, or by how much the "process" grows, and the rest."""
    options = KINDS[kind]
    solve(20, {"checkpoint_every": 5} if "checkpoint" in kind else options)
    if way == "tensors":
        with LiveBytes() as live:
            solve(steps, options)
        return {"tensors": live.peak}
    before = size("VmRSS")
    began = time.process_time()
    calls, grads = solve(steps, options)
    found = {"seconds": time.process_time() - began, "process": size("VmHWM") - before, "calls": calls}
    if steps > COUNTED:
        return found
    exact = solve(steps, {})[1]
    found["off"] = max(((a - b).norm() / b.norm()).item() for a, b in zip(grads, exact, strict=True))
    return found


def apart(kind: str, steps: int) -> dict[str, float]:
    """Both measurements, each in a process of its own."""
    found: dict[str, float] = {}
    for way in ("tensors", "process") if steps <= COUNTED else ("process",):
        command = [sys.executable, __file__, "--one", kind, str(steps), way]
        out = subprocess.run(command, check=True, capture_output=True, text=True)
        found |= json.loads(out.stdout.splitlines()[-1])
    return found


def draw(found: dict[str, list[dict[str, float]]], steps: list[int], path: Path) -> None:
    """The picture: both peaks against the number of steps."""
    figure, axes = plt.subplots(1, 2, figsize=(10.0, 4.4), sharey=True, layout="constrained")
    titles = {"tensors": "tensors alive, peak", "process": "growth of the process"}
    for ax, (which, title) in zip(axes, titles.items(), strict=True):
        for (name, rows), mark in zip(found.items(), "os^DvPX", strict=True):
            shown = [(n, row[which] / 1e6) for n, row in zip(steps, rows, strict=True) if which in row]
            ax.loglog(*zip(*shown, strict=True), marker=mark, label=name, markersize=5)
        ax.set_title(title)
        ax.set_xlabel("steps (tsit5)")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("MB")
    axes[0].set_ylim(bottom=0.1)  # below, the process's size is too coarse to tell
    axes[0].legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/neural_memory.png"))
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parsed(parser)
    torch.set_num_threads(1)
    if args.one:
        print(json.dumps(one(args.one[0], int(args.one[1]), args.one[2])))
        return
    print("| adjoint | steps | tensors, MB | process, MB | f-evaluations | CPU s | distance of the gradients |")
    print("|---|---|---|---|---|---|---|", flush=True)
    found: dict[str, list[dict[str, float]]] = {}
    for name in KINDS:
        for n in args.steps:
            row = apart(name, n)
            found.setdefault(name, []).append(row)
            tensors, off = (f"{row[k] / unit:.3g}" if k in row else "-" for k, unit in (("tensors", 1e6), ("off", 1)))
            cells = (name, n, tensors, f"{row['process'] / 1e6:.3g}", int(row["calls"]), f"{row['seconds']:.2g}", off)
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    draw(found, args.steps, args.out)
    print(f"{args.out} written")


if __name__ == "__main__":
    main()
