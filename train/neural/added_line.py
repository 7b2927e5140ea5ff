"""A small neural ODE trained through torchdiffeq, as it is and with one added line: the demo's last part.

The model and the data are those of `digits_field`, in single precision; the training loop is what a user of torchdiffeq
writes, and only the `method` that is handed to `odeint` differs.  All see the same weights at the start and the same
batches, and are timed in turns, an epoch each, so that what disturbs the machine disturbs all of them.  torchdiffeq's
own law with warm start and even steps stands beside `universal` with them, so that one sees which brings what.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...controllers.resolve import controller as resolve
from .digits_field import CLASSES, DIM, Field, digits

RTOL = 1e-4
#: rows: torchdiffeq as it is; its law, the universal law and controller, each with warm start and even steps
OWN, SAME_LAW = "torchdiffeq's default", "its law, warm start, even steps"
LAW, LEARNED = "universal_law at 4 times, with them", "universal, warm start, even steps"
#: tolerance scale of `universal_law`, with which its error rests where torchdiffeq's law lets it
SCALE = 4.0
#: tolerance of the reference of errors, in double precision
TIGHT = 1e-10


@dataclass
class Trained:
    """One training.

    evaluations      of the field, in training
    seconds          wall clock of the training loop
    accuracy         share of held-out images classified right
    error            of a solve on the trained field in double precision, over that of torchdiffeq's default there
    """

    name: str
    evaluations: int = 0
    seconds: float = 0.0
    accuracy: float = 0.0
    error: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name, "evaluations": self.evaluations, "seconds": round(self.seconds, 2),
            "accuracy": self.accuracy, "error": self.error,
        }  # fmt: skip


class _Run:
    """One model and its training."""

    def __init__(self, name: str, method: Any, hidden: int, steps: int, seed: int) -> None:
        self.told, self.method = Trained(name), method
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net, self.head = Field(hidden), torch.nn.Linear(DIM, CLASSES)
        self.order = torch.Generator().manual_seed(seed)
        parameters = [*self.net.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-2)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)

    def solve(self, y: torch.Tensor) -> torch.Tensor:
        from torchdiffeq import odeint

        return odeint(self.net, y, torch.tensor([0.0, 1.0]), rtol=RTOL, atol=RTOL, method=self.method)[-1]

    def error(self, x: torch.Tensor) -> float:
        """Root mean square error at the end over that of torchdiffeq's default, on this field, in double precision."""
        from torchdiffeq import odeint

        net, y, t = copy.deepcopy(self.net).double(), x.double(), torch.tensor([0.0, 1.0], dtype=torch.float64)
        with torch.no_grad():
            exact, own, mine = (
                odeint(net, y, t, rtol=tol, atol=tol, method=method)[-1]
                for method, tol in (("dopri5", TIGHT), ("dopri5", RTOL), (self.method, RTOL))
            )
        return float((mine - exact).square().mean().sqrt() / (own - exact).square().mean().sqrt())

    def epoch(self, x: torch.Tensor, labels: torch.Tensor, batch: int) -> None:
        began, before = time.perf_counter(), self.net.calls
        for rows in torch.randperm(len(x), generator=self.order).split(batch):
            loss = torch.nn.functional.cross_entropy(self.head(self.solve(x[rows])), labels[rows])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
        self.told.evaluations += self.net.calls - before
        self.told.seconds += time.perf_counter() - began


def added_line(
    more: dict[str, Any], epochs: int = 12, batch: int = 128, hidden: int = 64, seed: int = 0,
    log: Callable[[int], None] | None = None,
) -> list[Trained]:  # fmt: skip
    """Train with torchdiffeq's default; with its law, `universal` and `universal_law`, all with warm start and even
    steps; and with each of `more`.

    more: controllers, by the name of their row, that are put in without warm start and even steps.  epochs, batch,
    hidden, seed: as in `digits_demo`.  log: called with the number of each epoch.  Needs torchdiffeq and scikit-learn.
    """
    x, labels, x_held, labels_held = digits()
    x, x_held = x.float(), x_held.float()
    with warnings.catch_warnings():  # a controller of another method is run as it is
        warnings.filterwarnings("ignore", message="controller .* was trained with method")
        methods: dict[str, Any] = {
            OWN: "dopri5",
            **{
                name: resolve(law).for_torchdiffeq("dopri5", warm_start=True, even_steps=True)
                for name, law in ((SAME_LAW, "torchdiffeq"), (LEARNED, "universal"))
            },
            LAW: resolve("universal_law").replace(tolerance_scale=SCALE).for_torchdiffeq(
                "dopri5", warm_start=True, even_steps=True
            ),
            **{name: controller.for_torchdiffeq("dopri5") for name, controller in more.items()},
        }
    steps = epochs * -(-len(x) // batch)
    runs = [_Run(name, method, hidden, steps, seed) for name, method in methods.items()]
    for run in runs:
        with torch.no_grad():
            run.solve(x[:batch])  # what is loaded or compiled at the first call
        run.net.calls = 0
        reset = getattr(run.method, "reset", None)
        if reset is not None:
            reset()
    for epoch in range(1, epochs + 1):
        for run in runs:
            run.epoch(x, labels, batch)
        if log is not None:
            log(epoch)
    for run in runs:
        with torch.no_grad():
            right = run.head(run.solve(x_held)).argmax(1) == labels_held
        run.told.accuracy, run.told.error = right.double().mean().item(), run.error(x_held)
    return [run.told for run in runs]
