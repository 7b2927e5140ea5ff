"""SDEs in torch with known solutions as functions of the Brownian motion (P. E. Kloeden, E. Platen, 1992, section 4.4).

A case is (drift, diffusion, interpretation, solution(t, w, y0)).
"""

from __future__ import annotations

import torch

MU, SIGMA, A, ALPHA, BETA = 0.5, 0.6, 0.8, 0.7, 0.9

#: geometric Brownian motion
GBM = {
    "ito": (
        lambda t, y: MU * y,
        lambda t, y: SIGMA * y,
        lambda t, w, y0: y0 * torch.exp((MU - 0.5 * SIGMA**2) * t + SIGMA * w),
    ),
    "stratonovich": (
        lambda t, y: MU * y,
        lambda t, y: SIGMA * y,
        lambda t, w, y0: y0 * torch.exp(MU * t + SIGMA * w),
    ),
}

#: dX = a (1 - X^2) o dW, X = tanh(a W + artanh X_0); its diffusion is curved, so that derivatives of all orders count
TANH = {
    "ito": (
        lambda t, y: -(A**2) * y * (1.0 - y * y),
        lambda t, y: A * (1.0 - y * y),
        lambda t, w, y0: torch.tanh(A * w + torch.atanh(y0)),
    ),
    "stratonovich": (
        lambda t, y: torch.zeros_like(y),
        lambda t, y: A * (1.0 - y * y),
        lambda t, w, y0: torch.tanh(A * w + torch.atanh(y0)),
    ),
}


def _root(t: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(1.0 + torch.as_tensor(t))


#: additive noise that moves with time
ADDITIVE = (
    lambda t, y: BETA / _root(t) - y / (2.0 * (1.0 + t)),
    lambda t, y: ALPHA * BETA / _root(t) + torch.zeros_like(y),
    lambda t, w, y0: (y0 + BETA * (t + ALPHA * w)) / _root(t),
)


def strong_errors(sdeint, case, method, counts, y0, noise="diagonal", seed=3):
    """Mean errors at t = 1 of solves by `counts` equal steps along the same paths."""
    drift, diffusion, solution = case
    found = []
    for n in counts:
        sol = sdeint(
            drift, diffusion, y0, [0.0, 1.0], method=method, step_size=1.0 / n, brownian="tree", adjoint="none",
            seed=seed, noise=noise,
        )  # fmt: skip
        found.append(float((sol.y[-1] - solution(1.0, sol.W[-1], y0)).abs().mean()))
    return found
