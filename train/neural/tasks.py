"""The tasks: data, model, loss and the score of every test item.

Classifiers: cross-entropy; an item's score is 1 where it is classified right, the metric is the accuracy. pbcseq:
reconstruction.  The encoder sees all visits of a patient, the metric is the mean over patients of the mean squared
error over what was observed of each (in units of the channels' standard deviations), from the mean of the first latent
state.  The loss is that of A. Pal et al. (ICML 2021), for a patient with squared errors e_i^2 over m observed values,

    sum_i (e_i^2 / (2 sigma^2) + log sigma + log(2 pi) / 2) / m  +  w KL(N(mu, exp(log var)) || N(0, 1)) / latent,
    w = max(0, 1 - .99^(epoch - 10))

with one sample of the first latent state.  sigma is .1 here and .01 there: values are scaled to standard deviation one
here and to [0, 1] there, so that loss and strengths of regularisers keep their proportion.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from ... import neural
from ...integrators.core.names import unknown
from .. import data
from ..config.settings import MOST_WEIGHTS
from .config import SIZES, NeuralConfig, RegulariserSpec
from .models import AutonomousField, ControlledField, Encoder, Field, TimedField, glorot

Tensor = torch.Tensor
Make = Callable[[Field], neural.NeuralODE]


class Task(ABC):
    """What the loop trains: `model` holds all that is learnt, `field` and the solver `ode` with it.

    metric, higher_is_better   name and direction of the mean of the items' scores.
    """

    metric = "accuracy"
    higher_is_better = True
    model: torch.nn.Module
    field: Field
    ode: neural.NeuralODE
    split: data.Split

    def solve(
        self, rows: Tensor, noise: torch.Generator | None, draws: torch.Generator | None = None
    ) -> tuple[Any, neural.NeuralOutput]:
        """Predictions for subjects `rows` and the solve behind them.

        noise    draws the model's own samples; None: their means are taken
        draws    draws what a regulariser draws; None: torch's own generator does
        """
        y0, t, context = self.start(rows, noise)
        out = self.ode(y0, t, draws)
        return self.read(out.y, rows, context), out

    @abstractmethod
    def start(self, rows: Tensor, noise: torch.Generator | None) -> tuple[Tensor, Tensor, Any]:
        """The problem of subjects `rows`: y0 (B, n), output times (T,) float64, and what `read` needs.  The field now
        belongs to them.
        """

    @abstractmethod
    def read(self, y: Tensor, rows: Tensor, context: Any) -> Any:
        """Predictions from the solution y (T, B, n)."""

    @abstractmethod
    def part(self, prediction: Any, kept: Tensor) -> Any:
        """The predictions for those subjects (B,) of a solve that are `kept`."""

    @abstractmethod
    def loss(self, prediction: Any, rows: Tensor, epoch: int) -> Tensor:
        """0-d training loss, without a regulariser; epoch counts from 0."""

    @abstractmethod
    def score(self, prediction: Any, rows: Tensor) -> Tensor:
        """(len(rows),) the items' scores."""


class _Classifier(Task):
    head: torch.nn.Linear
    labels: Tensor

    def part(self, prediction: Any, kept: Tensor) -> Any:
        return prediction[kept]

    def loss(self, prediction: Any, rows: Tensor, epoch: int) -> Tensor:
        return torch.nn.functional.cross_entropy(prediction, self.labels[rows])

    def score(self, prediction: Any, rows: Tensor) -> Tensor:
        return (prediction.argmax(1) == self.labels[rows]).to(prediction.dtype)


class ImageTask(_Classifier):
    """Images through a flow of their own dimension, then a linear layer.  hidden: width of the field."""

    def __init__(self, name: str, make: Make, dtype: torch.dtype, device: str, hidden: int = 100) -> None:
        found = data.load(name)
        assert isinstance(found, data.Images)
        self.split = found.split
        self.x = torch.from_numpy(found.x).to(device, dtype)
        self.labels = torch.from_numpy(found.labels).to(device)
        n = found.x.shape[1]
        self.field, self.head = TimedField(n, hidden), torch.nn.Linear(n, found.classes)
        self.ode = make(self.field)
        self.model = torch.nn.ModuleList([self.ode, self.head])
        self.span = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def start(self, rows: Tensor, noise: torch.Generator | None) -> tuple[Tensor, Tensor, Any]:
        return self.x[rows], self.span, None

    def read(self, y: Tensor, rows: Tensor, context: Any) -> Any:
        return self.head(y[-1])


class LatentTask(Task):
    """A latent ODE over irregular series.

    hidden    width of the encoder's recurrent state
    width     width of the encoder's head and of the field's layers
    latent    width of the latent state
    pairs     how many layers n -> width -> n the field has
    sigma     standard deviation of the observations, in units of the channels' own

    Outputs are wanted at all times at which one of the batch was observed, and the solve ends at the last of them.
    """

    metric, higher_is_better = "mse", False

    def __init__(
        self, name: str, make: Make, dtype: torch.dtype, device: str,
        hidden: int = 40, width: int = 50, latent: int = 20, pairs: int = 4, sigma: float = 0.1,
    ) -> None:  # fmt: skip
        found = data.load(name)
        assert isinstance(found, data.Series)
        if not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(f"[task] sigma must be positive and finite, got {sigma!r}")
        self.series, self.split, self.sigma = found, found.split, float(sigma)
        channels = len(found.channels)
        real = np.arange(found.times.shape[1]) < found.count[:, None]
        following = np.roll(real, -1, axis=1) & (np.arange(real.shape[1]) < real.shape[1] - 1)
        gaps = np.where(following, np.roll(found.times, -1, axis=1) - found.times, 0.0)
        self.values, self.mask, self.gaps = (
            torch.from_numpy(a).to(device, dtype) for a in (found.values, found.mask, gaps)
        )
        self.real = torch.from_numpy(real).to(device)
        self.encoder = Encoder(channels, hidden, width, latent)
        self.field, self.decoder = AutonomousField(latent, width, pairs), torch.nn.Linear(latent, channels)
        self.ode = make(self.field)
        self.model = torch.nn.ModuleList([self.encoder, self.ode, self.decoder])

    def start(self, rows: Tensor, noise: torch.Generator | None) -> tuple[Tensor, Tensor, Any]:
        mean, log_var = self.encoder(self.values[rows], self.mask[rows], self.gaps[rows], self.real[rows])
        z = mean
        if noise is not None:
            z = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape, generator=noise, dtype=torch.float64).to(mean)
        times, where = self.series.union(rows.numpy())
        if len(times) == 1:  # one visit each: a solve needs an interval
            times = np.array([times[0], times[0] + 1.0])
        return z, torch.from_numpy(times), (where, mean, log_var)

    def read(self, y: Tensor, rows: Tensor, context: Any) -> Any:
        where, mean, log_var = context
        real = self.real[rows]
        subject = torch.nonzero(real)[:, 0]
        predicted = self.decoder(y[torch.from_numpy(where).to(real.device)[real], subject])
        squared = (predicted - self.values[rows][real]) ** 2 * self.mask[rows][real]
        return squared, subject, mean, log_var

    def part(self, prediction: Any, kept: Tensor) -> Any:
        squared, subject, mean, log_var = prediction
        of_kept = kept[subject]
        return squared[of_kept], (kept.cumsum(0) - 1)[subject[of_kept]], mean[kept], log_var[kept]

    def score(self, prediction: Any, rows: Tensor) -> Tensor:
        squared, subject, _, _ = prediction
        total = squared.new_zeros(len(rows)).index_add(0, subject, squared.sum(1))
        return total / self.mask[rows].sum((1, 2))

    def loss(self, prediction: Any, rows: Tensor, epoch: int) -> Tensor:
        _, _, mean, log_var = prediction
        error = self.score(prediction, rows) / (2 * self.sigma**2) + math.log(self.sigma) + 0.5 * math.log(2 * math.pi)
        divergence = 0.5 * (log_var.exp() + mean**2 - 1 - log_var).mean(1)
        return (error + max(0.0, 1 - 0.99 ** (epoch - 10)) * divergence).mean()


class ControlledTask(_Classifier):
    """A neural controlled differential equation over whole series.

    state: dimension of z.  hidden: width of its field.
    """

    def __init__(
        self, name: str, make: Make, dtype: torch.dtype, device: str, state: int = 24, hidden: int = 48
    ) -> None:
        found = data.load(name)
        assert isinstance(found, data.Series) and found.labels is not None
        self.split = found.split
        first, pieces = _splines(found)
        self.first, self.pieces = (torch.from_numpy(a).to(device, dtype) for a in (first, pieces))
        self.count = torch.from_numpy(found.count - 1).to(device, dtype)
        self.labels = torch.from_numpy(found.labels).to(device)
        channels = first.shape[1]
        self.begin = torch.nn.Linear(channels, state)
        self.head = torch.nn.Linear(state, found.classes)
        self.controlled = ControlledField(state, hidden, channels)
        self.field = self.controlled
        self.ode = make(self.field)
        self.model = torch.nn.ModuleList([self.begin, self.ode, self.head])
        self.span = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def start(self, rows: Tensor, noise: torch.Generator | None) -> tuple[Tensor, Tensor, Any]:
        self.controlled.path = self.pieces[rows], self.count[rows]
        return self.begin(self.first[rows]), self.span, None

    def read(self, y: Tensor, rows: Tensor, context: Any) -> Any:
        return self.head(y[-1])


def _splines(series: data.Series) -> tuple[np.ndarray, np.ndarray]:
    """X(0) (N, D + 1) and dX/ds (N, T - 1, 3, D + 1), as `ControlledField.path` takes it.

    The last channel is the time, which is 1 at T frames.
    """
    n, most, d = series.values.shape
    pieces = np.zeros((n, most - 1, 3, d + 1))
    for i in range(n):
        k = int(series.count[i])
        values = np.column_stack([series.values[i, :k], series.times[i, :k] / (most - 1)])
        c = CubicSpline(np.arange(k), values, bc_type="natural").c
        pieces[i, : k - 1] = np.stack([c[2], 2 * c[1], 3 * c[0]], axis=1) * (k - 1)
    return np.concatenate([series.values[:, 0], series.times[:, :1]], axis=1), pieces


_TASKS: dict[str, Callable[..., Task]] = {
    "digits": ImageTask, "mnist5k": ImageTask, "pbcseq": LatentTask, "japanese_vowels": ControlledTask,
}  # fmt: skip


def regulariser_of(spec: RegulariserSpec) -> Any:
    """The regulariser that a config asks for, a sum where it adds terms.

    ValueError for unknown names and options that do not fit.
    """
    whole = neural.regulariser(spec.name, **spec.options)
    for term in spec.plus:
        whole = whole + float(term.get("weight", 1.0)) * neural.regulariser(term["name"], **term.get("options", {}))
    return whole


def check(config: NeuralConfig) -> None:
    """Look up every name that `build` will: keys of [task], regulariser, solver, controller, device.  Loads no data.

    Raises ValueError naming the table and the key.
    """
    _task_options(config)
    try:
        regulariser = None if config.regulariser is None else regulariser_of(config.regulariser)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"[regulariser] {error}") from None
    try:
        with torch.random.fork_rng(devices=[]):
            _ode(config, regulariser, AutonomousField(1, 1, 1))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"[solver] {error}") from None
    try:
        torch.empty(0, device=config.train.device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"[train] device {config.train.device!r}: {str(error).splitlines()[0]}") from None
    if torch.device(config.train.device).type == "meta":  # tensors without numbers
        raise ValueError("[train] device 'meta' computes nothing: take cpu or cuda")


def _task_options(config: NeuralConfig) -> dict[str, Any]:
    options = {k: v for k, v in config.task.items() if k != "name"}
    known = list(inspect.signature(_TASKS[config.task["name"]]).parameters)[4:]
    for key, value in options.items():
        if key not in known:
            raise unknown("key in [task]", key, ["name", *known])
        options[key] = SIZES[key](f"[task] {key}", value)
    latent, width, hidden, state = (options.get(k, 1) for k in ("latent", "width", "hidden", "state"))
    weights = max(
        2 * options.get("pairs", 4) * latent * width,
        3 * hidden**2 if "latent" in known else hidden,
        16 * state * hidden,
    )
    if weights > MOST_WEIGHTS:
        raise ValueError(f"[task] must make at most {MOST_WEIGHTS:,} weights, got about {weights:,}")
    return options


#: what to pass in the place of arguments of NeuralODE that are no keys of [solver]
_INSTEAD = {
    "func": "[task] names the field", "rtol": "tolerance is rtol and atol", "atol": "tolerance is rtol and atol",
    "regulariser": "it is the table [regulariser]",
}  # fmt: skip


def _ode(config: NeuralConfig, regulariser: Any, field: Field) -> neural.NeuralODE:
    s = config.solver
    own: dict[str, Any] = {
        "func": field, "method": s.method, "controller": s.controller, "rtol": s.tolerance, "atol": s.tolerance,
        "adjoint": s.adjoint, "per_sample": s.per_sample, "regulariser": regulariser, "warm_start": s.warm_start,
    }  # fmt: skip
    for name in s.options:
        if name in own:
            raise ValueError(f"options must not hold {name}: " + _INSTEAD.get(name, f"{name} is a key of the table"))
    given = {"heuristics": False, **s.options} if regulariser is None else s.options
    ode = neural.NeuralODE(**{"on_failure": "raise", **own, **given})
    if ode.on_failure == "raise":
        ode.on_failure = "warn"  # the loop ends the run, and says where it stands
    return ode


def build(config: NeuralConfig) -> Task:
    """The task of a config, its weights drawn from the config's seed; torch's global generator is left as it was.

    Raises ValueError for arguments of [task], [solver] and [regulariser] that do not fit.
    """
    options = _task_options(config)
    kind = _TASKS[config.task["name"]]
    regulariser = None if config.regulariser is None else regulariser_of(config.regulariser)

    def make(field: Field) -> neural.NeuralODE:
        return _ode(config, regulariser, field)

    dtype = getattr(torch, config.train.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        task = kind(config.task["name"], make, dtype, config.train.device, **options)
        glorot(task.model)
    task.model.to(config.train.device, dtype)
    return task
