"""Standard normal numbers in torch that are a function of (seed, sample, node): the bits of `noise.counter`.

They agree with those of NumPy and of compiled code (`noise.normal`) to rounding, on every device.
"""

from __future__ import annotations

import numpy as np
import torch

from ...noise.counter import bits, key

Tensor = torch.Tensor


def streams(seed: int, samples: np.ndarray, device: torch.device) -> Tensor:
    """Keys (n,) int64 of the streams of the samples, whole numbers (n,)."""
    own = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.int64)).to(device)
    return key(torch.full_like(own, seed), own)


def normals(own: Tensor, node: np.ndarray, count: int) -> Tensor:
    """(n, count) float64 standard normal numbers of the nodes `node` (n,) of the streams `own` (n,)."""
    place = key(own, torch.from_numpy(np.ascontiguousarray(node, dtype=np.int64)).to(own.device))
    word = bits(place[:, None], torch.arange(count, device=own.device)[None])
    # an odd multiple of 2^-53, strictly between 0 and 1 (`noise.counter.uniform`; torch would add 0.5 in float32)
    return torch.special.ndtri((((word >> 12) & (2**52 - 1)).double() + 0.5) * 2.0**-52)
