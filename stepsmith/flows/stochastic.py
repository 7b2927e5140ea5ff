"""Sampling methods with fixed steps that draw new noise in every step.

    ancestral        the step of DDPM: of the noise at the step's end as much is new as makes the chain's conditional
                     law exact for the denoised data at its beginning (J. Ho et al., NeurIPS 2020; J. Song et al., ICLR
                     2021, equation 16 with eta = 1; by s^2 (1 - exp(-2 h)) in log-SNR for every process)
    euler_maruyama   Euler and Maruyama's method on the reverse SDE (Y. Song et al., ICLR 2021, equation 6),
                     dx = (u + g^2 score / 2) dtau + g dW, tau running towards the data, g^2 = 2 s |a' s - a s'| / a

Both are baselines: their error in law falls with the first power of the step.  At pure noise (a = 0) the reverse SDE
has no finite drift, and its last step leaves the noise it draws: grids of "euler_maruyama" begin at sigma = 80 at most,
and end by Tweedie's estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..integrators.core.errors import OptionError
from .fixed import Rule
from .model import Model

Tensor = torch.Tensor
NAMES = ("ancestral", "euler_maruyama")
#: of the seed: an odd factor and an offset, which make the stream another one than that of torch.manual_seed(seed)
_FACTOR, _OFFSET = 0x9E3779B97F4A7C15, 0x5851F42D4C957F2D


def stream(seed: int) -> torch.Generator:
    """Draws of a seed that are not those of torch.manual_seed(seed), with which the noise itself is often drawn: the
    first step's noise would be that noise again."""
    return torch.Generator().manual_seed((seed * _FACTOR + _OFFSET) % 2**64)


def rule(method: str, seed: int) -> Rule:
    """The rule `method` of NAMES with its own generator: the same seed gives the same samples."""
    generator = stream(seed)

    def normal(x: Tensor) -> Tensor:
        return torch.randn(x.shape, dtype=x.dtype, generator=generator).to(x.device)

    def ancestral(model: Model, x: Tensor, times: Sequence[Any], i: int, past: list[Any]) -> Tensor:
        p, now, end = model.process, times[i], times[i + 1]
        denoised, noise = model.predictions(x, now)
        a, s, a_end, s_end = p.a(now), p.s(now), p.a(end), p.s(end)
        kept = a * s_end / (s * a_end)  # exp(-h) with h the step in log-SNR
        return a_end * denoised + s_end * kept * noise + s_end * torch.sqrt(1.0 - kept**2) * normal(x)

    def euler_maruyama(model: Model, x: Tensor, times: Sequence[Any], i: int, past: list[Any]) -> Tensor:
        p, now = model.process, times[i]
        h = times[i + 1] - now
        a, s, w = p.a(now), p.s(now), abs(p.wronskian(now))
        if float(a) == 0.0:
            raise OptionError(
                "grid must begin where there is signal, for 'euler_maruyama': at pure noise the reverse SDE has no "
                "finite drift ('ancestral' begins there)"
            )
        denoised, noise = model.predictions(x, now)
        drift = p.da(now) * denoised + p.ds(now) * noise  # the velocity, in the process's time
        spread = torch.sqrt(2.0 * s * w / a * abs(h))
        return x + h * drift - abs(h) * (w / a) * noise + spread * normal(x)

    return ancestral if method == "ancestral" else euler_maruyama
