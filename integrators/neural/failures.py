"""What a NeuralODE says of samples that failed, and what it gives in the place of their outputs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as tree

from ..kernels.layout import MESSAGES, SUCCESS
from .solution import NeuralSolution

Tensor = torch.Tensor


def told(solution: NeuralSolution, coupled: bool) -> str:
    """How many samples failed, where and why, and what helps; coupled: they had one step size."""
    status = solution.status
    failed = status != SUCCESS
    which = np.flatnonzero(failed)
    first = int(which[0])
    at = f"t = {solution.t_last[first]:.6g}"
    reasons = {code: MESSAGES[int(code)].partition(";")[0] for code in status[failed]}
    helps = "a field that stays bounded, a shorter span, looser tolerances, or a larger max_steps"
    if failed.all() and len(set(solution.t_last)) == 1 and coupled:
        text = f"the solve failed at {at}: {reasons[status[0]]}"
        if len(status) > 1:
            helps += "; per_sample=True, or a smaller batch, keeps a failing sample from the others"
    else:
        counted = Counter(int(code) for code in status[failed])
        causes = ", ".join(f"{n}: {reasons[code]}" for code, n in counted.items())
        many = f"{len(which)} of {len(status)} samples failed"
        text = f"{many}, {numbers(which)}, the first of them, sample {first}, at {at} ({causes})"
    return f"{text}. What helps: {helps}"


def numbers(which: np.ndarray, most: int = 5) -> str:
    """The samples `which`, the first few of them by number."""
    some = ", ".join(str(i) for i in which[:most])
    return f"number {some}" if len(which) == 1 else f"numbers {some}{', ...' if len(which) > most else ''}"


def filled(y: Any, y0: Any, good: Tensor | None) -> Any:
    """y, in y0's form with the times first, where what failed samples did not reach is their y0, without gradient.

    good: (B,) the samples that reached the end, or an event, whose outputs stay as they are; None where all failed
    together.  A y0 that is not finite is replaced by zero.  The last good state would not do: that of a sample which
    blew up may be of any size, and a loss over all samples would follow it alone.
    """

    def part(y: Tensor, y0: Tensor) -> Tensor:
        start = y0.detach()
        keep = torch.isfinite(y.detach())
        if good is not None:
            keep = keep | good.view(-1, *(1,) * (y0.dim() - 1))
        return torch.where(keep, y, torch.where(torch.isfinite(start), start, 0.0))

    return tree.tree_map(part, y, y0)


class SolveFailed(AssertionError):
    """A solve that cannot reach its end, where there is no solution object to say so."""
