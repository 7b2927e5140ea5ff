"""The models of the tasks: a classifier of images, a latent ODE for irregular series, a neural controlled differential
equation.

Classifier, with time joined to the input of each layer, and its field's sizes from A. Pal, Y. Ma, V. Shah, C.
Rackauckas, Opening the Blackbox, ICML 2021 (PMLR 139:8325-8335):

    y(0) = pixels,    y' = tanh(W2 [tanh(W1 [y, t] + b1), t] + b2)  on [0, 1],    logits = W y(1) + b

Latent ODE: R. T. Q. Chen et al., NeurIPS 2018 (arXiv:1806.07366); Y. Rubanova, R. T. Q. Chen, D. Duvenaud, NeurIPS 2019
(arXiv:1907.03907); sizes from the paper above.  A gated recurrent unit reads (values, mask, time to the next visit)
from the last visit back to the first:

    z(0) ~ N(mu, exp(log var)),    z' = f(z),    prediction = W z(t) + b

with f a tanh and 8 tanh layers 20 -> 50 -> 20 -> ...

Neural controlled differential equation: P. Kidger, J. Morrill, J. Foster, T. Lyons, NeurIPS 2020 (arXiv:2005.08926), X
the natural cubic spline through a series and its time, s in [0, 1] the share of the series passed:

    z(0) = W X(0) + b,    dz/ds = F(z) dX/ds,    logits = V z(1) + c

All weights begin as Glorot's uniform ones, all biases at zero, as in the papers' code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

Tensor = torch.Tensor


def glorot(module: torch.nn.Module) -> None:
    """Set weights (matrices) to Glorot's uniform distribution and biases (vectors) to zero.

    The weights are drawn from torch's global generator.
    """
    with torch.no_grad():
        for p in module.parameters():
            torch.nn.init.xavier_uniform_(p) if p.dim() > 1 else torch.nn.init.zeros_(p)


class Field(torch.nn.Module, ABC):
    """A field that counts its evaluations in `calls`; `slope(t, y)` is what a subclass defines."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """t 0-d or (B, 1), y (B, n): (B, n)."""
        self.calls += 1
        return self.slope(t, y)

    @abstractmethod
    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        """What `forward` counts and returns."""


class TimedField(Field):
    """tanh(W2 [tanh(W1 [y, t] + b1), t] + b2): n -> hidden -> n."""

    def __init__(self, n: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(n + 1, hidden), torch.nn.Linear(hidden + 1, n)

    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        return _timed(self.outer, t, _timed(self.inner, t, y))


def _timed(layer: torch.nn.Linear, t: Tensor, y: Tensor) -> Tensor:
    """tanh(W [y, t] + b), without copying y to join t to it."""
    return torch.tanh(y @ layer.weight[:, :-1].T + (layer.bias + t * layer.weight[:, -1]))


class AutonomousField(Field):
    """tanh, then `pairs` times tanh layers n -> width -> n."""

    def __init__(self, n: int, width: int, pairs: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(*((n, width) if i % 2 == 0 else (width, n))) for i in range(2 * pairs)
        )

    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        y = torch.tanh(y)
        for layer in self.layers:
            y = torch.tanh(layer(y))
        return y


class Encoder(torch.nn.Module):
    """From a series to the mean and log variance of its first latent state.

    A gated recurrent unit runs over the series backwards; two layers follow.
    """

    def __init__(self, channels: int, hidden: int, width: int, latent: int) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(2 * channels + 1, hidden)
        self.head = torch.nn.Sequential(
            torch.nn.Linear(hidden, width), torch.nn.Tanh(), torch.nn.Linear(width, 2 * latent)
        )

    def forward(self, values: Tensor, mask: Tensor, gaps: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """values, mask (B, T, D) with 0 where nothing was observed; gaps (B, T) time to the next visit, 0 at the last;
        real (B, T) bool: the visit exists.  Returns (B, latent) twice.
        """
        x = torch.cat([values, mask, gaps[:, :, None]], dim=2)
        h = x.new_zeros(len(x), self.cell.hidden_size)
        for j in range(x.shape[1] - 1, -1, -1):
            h = torch.where(real[:, j, None], self.cell(x[:, j], h), h)
        mean, log_var = self.head(h).chunk(2, dim=1)
        return mean, log_var


class ControlledField(Field):
    """F(z) dX/ds with F(z) = tanh(W2 tanh(W1 z + b1) + b2) / sqrt(channels) of shape (n, channels).

    `path` is to be set before each solve: dX/ds of every series of the batch as quadratic pieces (B, S, 3, channels),
    ascending powers of the place within a piece, and the number of pieces of each (B,).
    """

    def __init__(self, n: int, hidden: int, channels: int) -> None:
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(n, hidden), torch.nn.Linear(hidden, n * channels)
        self.channels = channels
        self.path: tuple[Tensor, Tensor] | None = None

    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        dx = self.control(t, len(y))
        matrix = torch.tanh(self.outer(torch.tanh(self.inner(y)))).view(len(y), -1, self.channels)
        return torch.bmm(matrix, dx[:, :, None])[:, :, 0] / self.channels**0.5

    def control(self, t: Tensor, batch: int) -> Tensor:
        """dX/ds (B, channels) at s = t, 0-d or (B, 1)."""
        if self.path is None or len(self.path[1]) != batch:
            raise ValueError(f"the field's path must be set for a batch of {batch}")
        pieces, count = self.path
        place = t.expand(batch, 1)[:, 0] * count
        piece = torch.minimum(place.detach().floor().clamp(min=0), count - 1)
        u = (place - piece)[:, None]
        c = pieces[torch.arange(batch, device=pieces.device), piece.long()]
        return c[:, 0] + u * (c[:, 1] + u * c[:, 2])
