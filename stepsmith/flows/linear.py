"""The linear form that every sampler of a few steps shares, and the samplers that are written in it.

With N evaluations u_i = velocity(x_i, t_i) of the model,

    x_{i+1} = a_i x_0 + c_i x_i + sum_{j <= i} b_ij u_j,        i = 0 ... N-1,

x_0 being the noise that a sample starts from and x_N the sample.  Multistep methods have a_i = 0 and c_i = 1.  A stage
of a Runge-Kutta method is a row of its own.  Without restrictions these are the non-stationary solvers of N. Shaul et
al., "Bespoke Non-Stationary Solvers for Fast Sampling of Diffusion and Flow Models", arXiv:2403.01329.

The numbers are torch tensors in float64, so that gradients in the times reach what the rows are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..integrators.core import options
from .fixed import adams_bashforth

Tensor = torch.Tensor
Field = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Rows:
    """times (N+1,), the last that of the sample; start a (N,), state c (N,), slopes b (N, N), lower triangular."""

    times: Tensor
    start: Tensor
    state: Tensor
    slopes: Tensor

    @property
    def evaluations(self) -> int:
        """N, of the velocity."""
        return len(self.start)

    def detached(self) -> Rows:
        """Without graphs."""
        return Rows(*(part.detach().clone() for part in (self.times, self.start, self.state, self.slopes)))


def run(
    field: Field, x: Tensor, rows: Rows, keep: bool = False, correction: Callable[..., Tensor] | None = None
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The sample x_N, and where `keep` says so x_0 ... x_N and u_0 ... u_{N-1}.

    field: velocity(x, t) of x (B, ...) and a time of shape ().  x: x_0.  correction(x_i, u_i, t_i, t_{i+1}): added to
    x_{i+1}.  Sums are taken in x's dtype; terms whose number is zero are left out, unless it is trained.
    """
    first, states, slopes = x, [x], list[Tensor]()
    a, c, b = (part.to(x) for part in (rows.start, rows.state, rows.slopes))
    free = any(part.requires_grad for part in (rows.start, rows.state, rows.slopes))
    on_start, on_state, on_slopes = ((part.detach() != 0).tolist() for part in (rows.start, rows.state, rows.slopes))
    for i in range(rows.evaluations):
        slopes.append(field(x, rows.times[i]))
        end = c[i] * x if on_state[i] or free else torch.zeros_like(x)
        if on_start[i] or free:
            end = end + a[i] * first
        for j in range(i + 1):
            if on_slopes[i][j] or free:
                end = end + b[i, j] * slopes[j]
        if correction is not None:
            end = end + correction(x, slopes[i], rows.times[i], rows.times[i + 1])
        x = end
        if keep:
            states.append(x)
    return x, states, slopes


def adams(times: Tensor, orders: Any = 2) -> Rows:
    """Adams-Bashforth on any grid: x_{i+1} = x_i + the integral of the polynomial through the last slopes.

    times (N+1,), float64.  orders: slopes of the polynomial, 1 (Euler) to 4, one number or one a step; a step has no
    more than there are.
    """
    n = len(times) - 1
    wanted = [orders] * n if isinstance(orders, int) else list(orders)
    if len(wanted) != n or not all(isinstance(k, int) and 1 <= k <= 4 for k in wanted):
        raise options.refuse("orders", f"whole numbers from 1 to 4, one or {n}", orders)
    rows = []
    for i in range(n):
        k = min(wanted[i], i + 1)
        weights = torch.stack(adams_bashforth(list(times[i - k + 1 : i + 1]), times[i], times[i + 1]))
        rows.append(torch.nn.functional.pad(weights, (i - k + 1, n - i - 1)))
    return Rows(times, torch.zeros(n).to(times), torch.ones(n).to(times), torch.stack(rows))


def midpoint(times: Tensor) -> Rows:
    """The explicit midpoint rule with two evaluations a step.

    times (2n+1,): step ends at even places, and where the second evaluation of a step is taken at odd ones.  Its half
    step goes there, wherever that is.
    """
    n = _steps(times)
    return paired(
        times,
        torch.ones(n).to(times), times[1::2] - times[:-1:2],
        torch.ones(n).to(times), torch.zeros(n).to(times), times[2::2] - times[:-1:2],
    )  # fmt: skip


def paired(times: Tensor, p: Tensor, q: Tensor, r: Tensor, s: Tensor, w: Tensor) -> Rows:
    """Steps of two evaluations as rows: the middle is m = p x + q u(x), the end r x + s u(x) + w u(m).

    times (2n+1,); p, q, r, s, w (n,), p not zero.  The second row is written with m in the place of x.
    """
    n = _steps(times)
    ratio = r / p
    state = torch.stack([p, ratio], 1).reshape(-1)
    first = torch.stack([q, s - ratio * q], 1).reshape(-1)  # in the slope at the beginning of the step
    slopes = torch.zeros(2 * n, 2 * n).to(times)
    at = torch.arange(2 * n)
    slopes = slopes.index_put((at, at - at % 2), first)
    slopes = slopes.index_put((at[1::2], at[1::2]), w)
    return Rows(times, torch.zeros(2 * n).to(times), state, slopes)


def _steps(times: Tensor) -> int:
    if len(times) % 2 == 0:
        raise options.OptionError(f"steps of two evaluations need an even number of evaluations, got {len(times) - 1}")
    return (len(times) - 1) // 2


#: samplers that a grid alone makes: name -> rows from times
SAMPLERS: dict[str, Callable[[Tensor], Rows]] = {
    "euler": lambda times: adams(times, 1),
    "ab2": lambda times: adams(times, 2),
    "ab3": lambda times: adams(times, 3),
    "ab4": lambda times: adams(times, 4),
    "midpoint": midpoint,
}


def sampler(name: Any) -> Callable[[Tensor], Rows]:
    """Rows from times, of the sampler of this name; OptionError naming the nearest where there is none."""
    return SAMPLERS[options.choice("solver", name, SAMPLERS)]
