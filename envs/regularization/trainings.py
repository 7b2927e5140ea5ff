"""Trainings at work: one a lane, all in lock-step, each with strengths and a tolerance that may change at any time.

    loss = task loss + lambda_E (1/n) sum_j E_j h_j + lambda_S (1/n) sum_j S_j h_j

for the n accepted steps of a lane's solve (`er_mean`, `sr_mean`).  lambda is a ratio times the running scale ||d loss||
/ ||d penalty||, over the weights of the field, measured in the first iteration after each decision, as `neural.strength
.ratio` does.  Adam's formulas are those of D. P. Kingma, J. Ba, ICLR 2015, arXiv:1412.6980.

Everything that a lane is, is one row of numbers (`ROW`), so that it can be saved and restored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from ...controllers.resolve import controller
from ...controllers.strengths.observation import OFF
from ...integrators.kernels.layout import SUCCESS
from ...integrators.neural import NeuralSolution, odeint
from ...integrators.neural.spectrum import monitor, probes
from .draws import uniform
from .flow import FIELD, WEIGHTS, Flow, Lanes, initial, loss_and_quality
from .instances import CLASSES, HELD_ROWS, TRAIN_ROWS, WIDTH, instance

Tensor = torch.Tensor
BATCH = 32
METHOD, LAW = "tsit5", "pi34"
MOST_STEPS = 1000
SPAN = torch.tensor([0.0, 1.0], dtype=torch.float64)
#: tolerance at which the spectrum is measured
PROBED = 1e-3
#: what an iteration sees of every lane
SEEN = ("loss", "steps", "reject", "error", "stiff")
#: weight of a measurement in the running mean of a scale's logarithm
WEIGHT = 0.5
#: what a number that is not finite is remembered as: a logarithm of it is observed at the bound
LARGE = 1e12
#: scalars of a lane's row, in their order
SCALARS = (
    "instance", "iteration", "decision", "scale_e", "scale_s", "loss0", "loss", "loss_before", "held0", "held",
    "held_before", "held_best", "quality", "nfev0", "nfev", "steps0", "steps", "reject", "error", "stiff", "error0",
    "grad_e", "grad_s", "cosine", "level_e", "level_s", "level_t", "spent", "paid", "over", "alive", "cost",
    "excess", "last_nfev", "fallbacks", "growth", "radius",
)  # fmt: skip
ROW = {name: i for i, name in enumerate(SCALARS)}
COUNT = len(SCALARS) + 3 * WEIGHTS


Method = TypeVar("Method", bound=Callable[..., Any])


def apart(method: Method) -> Method:
    """The method with gradients, and without autocast, whatever the caller has set for a policy of its own."""

    @functools.wraps(method)
    def within(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
            return method(*args, **kwargs)

    return within  # type: ignore[return-value]


class Trainings:
    """The lanes' trainings.  block (lanes, COUNT) float64: their rows, which the caller owns."""

    @apart
    def __init__(self, block: np.ndarray) -> None:
        self.block = block
        whole = torch.from_numpy(block)
        at = len(SCALARS)
        self.theta, self.mean, self.square = (
            whole[:, at + i * WEIGHTS : at + (i + 1) * WEIGHTS] for i in range(3)
        )  # fmt: skip
        self._known = np.full(len(block), -1.0)

    def __getitem__(self, name: str) -> np.ndarray:
        """A scalar of every lane, as a view."""
        return self.block[:, ROW[name]]

    @apart
    def begin(self, lanes: np.ndarray, numbers: np.ndarray) -> None:
        """Begin the trainings of instances `numbers` in these lanes."""
        self.block[lanes] = 0.0
        for lane, number in zip(lanes, numbers, strict=True):
            one = instance(int(number))
            draws = uniform(one.seed, np.arange(WEIGHTS))
            self.theta[lane] = torch.from_numpy(initial(draws, one.features, one.hidden, max(one.classes, 1)))
        self["instance"][lanes], self["alive"][lanes] = numbers, 1.0

    @apart
    def prepare(self) -> None:
        """Gather data and constants of the lanes whose instance is another than at the last call."""
        numbers = self["instance"].astype(np.int64)
        if np.array_equal(numbers, self._known):
            return
        found = [instance(int(n)) for n in numbers]
        rows = TRAIN_ROWS + HELD_ROWS
        self.x, self.y = np.zeros((len(found), rows, WIDTH)), np.zeros((len(found), rows))
        self.held = np.zeros((len(found), HELD_ROWS))
        for lane, one in enumerate(found):
            self.x[lane, : one.train], self.y[lane, : one.train] = one.x[: one.train], one.y[: one.train]
            self.x[lane, TRAIN_ROWS : TRAIN_ROWS + one.held] = one.x[one.train :]
            self.y[lane, TRAIN_ROWS : TRAIN_ROWS + one.held] = one.y[one.train :]
            self.held[lane, : one.held] = 1.0
        self.count = np.array([one.train for one in found])
        self.rate = torch.tensor([one.rate for one in found], dtype=torch.float64)
        features, classes = (torch.tensor([getattr(one, n) for one in found]) for n in ("features", "classes"))
        self.lanes = Lanes(
            features, classes, torch.tensor([one.bounded for one in found]),
            (torch.arange(WIDTH) < features[:, None]).double(),
            torch.arange(CLASSES) < classes.clamp(min=1)[:, None],
            torch.tensor([one.tolerance for one in found], dtype=torch.float64),
        )  # fmt: skip
        self._known = numbers

    def solve(self, flow: Flow, x: Tensor, heuristics: bool | str) -> NeuralSolution:
        """All lanes' batches x (lanes, batch, WIDTH) from 0 to 1."""
        law, tol = controller(LAW, None, METHOD), flow.tolerance
        more: dict[str, Any] = {"per_sample": True, "heuristics": heuristics, "max_steps": MOST_STEPS}
        return odeint(flow, x, SPAN, METHOD, law, tol, tol, **more)

    @apart
    def train(self, iterations: int) -> None:
        """So many iterations of every lane; the first measures the gradients."""
        self.prepare()
        spent = self.block[:, ROW["spent"]].copy()
        sums = np.zeros((len(self.block), len(SEEN)))
        for i in range(iterations):
            sums += self._iterate(measure=i == 0)
        mean = sums / iterations
        for name, value in zip(SEEN, mean.T, strict=True):
            self[name][:] = value
        first = self["decision"] == 0
        self["nfev"][:] = (self["spent"] - spent) / iterations
        for now in ("loss", "nfev", "steps", "error"):
            self[f"{now}0"][:] = np.where(first, self[now], self[f"{now}0"])

    def _iterate(self, measure: bool) -> np.ndarray:
        """One iteration of every lane; (lanes, len(SEEN)), what it saw."""
        rows = self._draw()
        x, y = (torch.from_numpy(np.take_along_axis(a, i, 1)) for a, i in ((self.x, rows[:, :, None]), (self.y, rows)))
        theta = self.theta.detach().clone().requires_grad_()
        full = torch.ones_like(y)
        flow = Flow(theta, self._tuned(), full)
        solution = self.solve(flow, x, True)
        loss, _ = loss_and_quality(flow.outputs(solution.y[-1]), y, full, self.lanes.classes)
        seen = solution.heuristics
        assert seen is not None and seen.S is not None
        stats = solution.stats
        count = torch.from_numpy(np.maximum(stats.naccept_per_sample, 1)).double()
        error, stiff = (seen.E * seen.h).sum(0) / count, (seen.S * seen.h).sum(0) / count
        ok = torch.isfinite(loss) & torch.isfinite(error) & torch.isfinite(stiff)
        if measure:
            grads = [self._gradient(v, theta, ok, last) for v, last in ((loss, False), (error, False), (stiff, True))]
            self._measure(*grads)
            level = self._levels()
            gradient = grads[0] + level[0][:, None] * grads[1] + level[1][:, None] * grads[2]
        else:
            level = self._levels()
            gradient = self._gradient(loss + level[0] * error + level[1] * stiff, theta, ok, True)
        ok &= torch.isfinite(gradient).all(1)
        self._adam(torch.where(ok[:, None], gradient, 0.0), ok)
        self["alive"][:] *= (ok.numpy() & (stats.status == SUCCESS)).astype(np.float64)
        self["spent"][:] += stats.nfev_per_sample
        tried = stats.naccept_per_sample + stats.nreject_per_sample
        found = (loss, tried, stats.nreject_per_sample / np.maximum(tried, 1), error, stiff)
        numbers = np.stack([np.asarray(v.detach() if isinstance(v, Tensor) else v) for v in found], 1)
        return np.nan_to_num(numbers, nan=LARGE, posinf=LARGE, neginf=-LARGE)

    def _draw(self) -> np.ndarray:
        """(lanes, BATCH) training rows, drawn with replacement by the same uniform numbers in every training of every
        instance, so that strengths are compared on the same batches."""
        u = uniform(0, 0, self["iteration"].astype(np.int64)[:, None], np.arange(BATCH))
        return np.minimum((u * self.count[:, None]).astype(np.int64), self.count[:, None] - 1)

    def _tuned(self) -> Lanes:
        return replace(self.lanes, tolerance=self.lanes.tolerance * torch.from_numpy(10.0 ** self["level_t"]))

    @staticmethod
    def _gradient(value: Tensor, theta: Tensor, ok: Tensor, last: bool) -> Tensor:
        """d value / d theta of every lane, zero where a lane is not well."""
        total = torch.where(ok, value, 0.0).sum()
        if not total.requires_grad:  # no lane is well, and the solve has no graph
            return torch.zeros_like(theta)
        (found,) = torch.autograd.grad(total, theta, retain_graph=not last)
        return found

    def _measure(self, task: Tensor, error: Tensor, stiff: Tensor) -> None:
        """The scales and what is observed of the gradients."""
        task, error, stiff = (g[:, :FIELD] for g in (task, error, stiff))
        sizes = [g.norm(dim=1).numpy() for g in (task, error, stiff)]
        first = self["decision"] == 0
        for name, size in (("e", sizes[1]), ("s", sizes[2])):
            good = np.isfinite(sizes[0]) & np.isfinite(size) & (sizes[0] > 0.0) & (size > 0.0)
            log = np.log(np.where(good, sizes[0], 1.0) / np.where(good, size, 1.0))
            old = self[f"scale_{name}"]
            new = np.where(first, log, old + WEIGHT * (log - old))
            self[f"scale_{name}"][:] = np.where(good, new, old)
            self[f"grad_{name}"][:] = log
        dot = (task * error).sum(1).numpy()
        self["cosine"][:] = dot / np.maximum(sizes[0] * sizes[1], 1e-300)

    def _levels(self) -> tuple[Tensor, Tensor]:
        """lambda_E and lambda_S of every lane, (lanes,)."""
        found = []
        for name in ("e", "s"):
            level = self[f"level_{name}"]
            found.append(torch.from_numpy(np.where(level > OFF, 10.0**level * np.exp(self[f"scale_{name}"]), 0.0)))
        return found[0], found[1]

    def _adam(self, gradient: Tensor, ok: Tensor) -> None:
        b1, b2, eps = 0.9, 0.999, 1e-8
        keep = ok[:, None]
        self.mean[:] = torch.where(keep, b1 * self.mean + (1 - b1) * gradient, self.mean)
        self.square[:] = torch.where(keep, b2 * self.square + (1 - b2) * gradient**2, self.square)
        self["iteration"][:] += 1.0
        k = torch.from_numpy(self["iteration"].copy())[:, None]
        step = self.rate[:, None] * (self.mean / (1 - b1**k)) / ((self.square / (1 - b2**k)).sqrt() + eps)
        self.theta[:] -= torch.where(keep, step, 0.0)

    @apart
    def probe(self) -> None:
        """Measure how much gradients grow in a solve of the next batch, and the spectral radius of its Jacobian.

        growth: the log of the factor; radius: over the span, the largest at its ends.  Of the weights as they are, at a
        tolerance of `PROBED`, for both are needed to a few per cent; NaN where the solve fails.
        """
        self.prepare()
        rows = self._draw()
        x = torch.from_numpy(np.take_along_axis(self.x, rows[:, :, None], 1))
        flow = Flow(self.theta.detach().clone(), self.lanes, torch.ones(rows.shape, dtype=torch.float64))
        law = controller(LAW, None, METHOD)
        found = monitor(
            flow, x, SPAN, method=METHOD, controller=law, rtol=PROBED, atol=PROBED, times=2, iterations=6, warn=False,
            max_steps=MOST_STEPS,
        )  # fmt: skip
        # of the part of the random vector that lies in columns in use: where there are none, it stays as it is
        w = probes(None, (1, len(x), x[0].numel()), x)[0].view(x.shape)
        idle = ((w * (1.0 - self.lanes.columns[:, None, :])) ** 2).sum((1, 2)).numpy()
        used = np.maximum(np.exp(2.0 * found.log_growth) - idle, 0.0) / (1.0 - idle)
        self["growth"][:], self["radius"][:] = 0.5 * np.log(np.maximum(used, 1e-12)), found.radius.max(0)

    @apart
    def examine(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(lanes,) the loss and the quality on the held-out rows, and the f-evaluations of their solve, at the
        tolerance of the instance."""
        self.prepare()
        x, y, rows = (torch.from_numpy(a) for a in (self.x[:, TRAIN_ROWS:], self.y[:, TRAIN_ROWS:], self.held))
        with torch.no_grad():
            flow = Flow(self.theta, self.lanes, rows)
            solution = self.solve(flow, x, False)
            loss, quality = loss_and_quality(flow.outputs(solution.y[-1]), y, rows, self.lanes.classes)
        self["alive"][:] *= (solution.stats.status == SUCCESS).astype(np.float64)
        return loss.numpy(), quality.numpy(), solution.stats.nfev_per_sample.astype(np.float64)
