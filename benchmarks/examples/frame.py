"""The frame of an example: its command line, the library under its name, its meter, and the JSON line that it prints.

It is imported by the scripts beside it and has no command of its own.  The data and nets of benchmarks/foreign are
handed on from here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "foreign"))
import cell  # noqa: E402
import data  # noqa: E402
import torch_nets  # noqa: E402

from stepsmith.train.run.provenance import provenance  # noqa: E402

__all__ = ["LIBRARIES", "Field", "Meter", "Trained", "data", "main", "torch_nets"]

#: the module that a script imports its solver from
LIBRARIES = {"torchdiffeq": "torchdiffeq", "stepsmith": "stepsmith.neural.torchdiffeq"}

#: what a script's `train` returns: its meter, how good the trained model is, and what that number is
Trained = tuple["Meter", float, str]


class Field(nn.Module):
    """A right-hand side that counts its evaluations; forward(t, y) adds one to `calls`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0


class Meter(cell.Clock):
    """Seconds of the iterations, one `with` block each, and the evaluations of `fields` in them."""

    def __init__(self, *fields: Any) -> None:
        super().__init__()
        self.fields = fields
        self.evaluations = self.in_backward = self.before = 0

    @property
    def calls(self) -> int:
        return sum(field.calls for field in self.fields)

    def __enter__(self) -> None:
        self.before = self.calls
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.evaluations += self.calls - self.before

    def backward(self, loss: Tensor) -> None:
        """loss.backward(), whose evaluations are counted apart too."""
        before = self.calls
        loss.backward()
        self.in_backward += self.calls - before


class _Line(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([-1.0], dtype=dtype))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.slope * torch.ones_like(y)


def warm_up(ode: Any) -> None:
    """Solve y' = -1 in every way that the scripts use, so that what a library compiles or loads is out of the clock."""
    for dtype in (torch.float32, torch.float64):
        field, y0, t = _Line(dtype), torch.ones(1, dtype=dtype), torch.linspace(0.0, 0.5, 3, dtype=dtype)
        steps = {"rtol": 1e-4, "atol": 1e-4}
        for solve in (ode.odeint, ode.odeint_adjoint):
            solve(field, y0, t, **steps)[-1].sum().backward()
        ode.odeint(field, y0, t, method="rk4")[-1].sum().backward()
        ode.odeint_event(field, y0, t[0], event_fn=lambda t, y: y - 0.5, **steps)[0].backward()


def main(train: Callable[[Any, int, int], Trained], iterations: int, about: str) -> None:
    """Run `train(module of the solver, seed, iterations)` as the command line says, and print its figures.

    iterations: the number of them where none is given.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=tuple(LIBRARIES), default="stepsmith")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=iterations)
    args = parser.parse_args()
    if args.iterations < 1:
        parser.error(f"--iterations must be at least 1, got {args.iterations}")
    torch.set_num_threads(1)
    ode = importlib.import_module(LIBRARIES[args.library])
    warm_up(ode)
    torch.manual_seed(args.seed)
    meter, quality, name = train(ode, args.seed, args.iterations)
    result = {
        "library": args.library, "seed": args.seed, "iterations": args.iterations, "evaluations": meter.evaluations,
        "in_backward": meter.in_backward, "seconds": meter.seconds, "seconds_first": meter.first,
        "cpu_seconds": meter.cpu_seconds, "quality": quality, "quality_name": name, "provenance": provenance(),
    }  # fmt: skip
    print(json.dumps(result))
