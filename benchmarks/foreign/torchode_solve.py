"""How both torchode scripts call a solver of torchode's: every sample must arrive, and attempts are counted.

It is imported by the scripts beside it and has no command of its own.
"""

from __future__ import annotations

import torch
import torchode


class Solver:
    """Solves by one of torchode's adjoints, counted."""

    def __init__(self, adjoint: torchode.AutoDiffAdjoint) -> None:
        self.adjoint = adjoint
        self.accepted = self.rejected = 0.0

    def __call__(
        self, y0: torch.Tensor, start: torch.Tensor, end: torch.Tensor, at: torch.Tensor | None = None
    ) -> torchode.Solution:
        """y0 (B, D) from `start` to `end`, (B,), with outputs at the times `at`, (B, T), or at the end alone.

        RuntimeError where a sample did not arrive: torchode would go on with wrong values.
        """
        solution = self.adjoint.solve(torchode.InitialValueProblem(y0, start, end, at))
        if bool((solution.status != 0).any()):
            raise RuntimeError(f"torchode's status is {sorted(set(solution.status.tolist()))}")
        accepted = solution.stats["n_accepted"].double().mean()
        self.accepted += float(accepted)
        self.rejected += float(solution.stats["n_steps"].double().mean() - accepted)
        return solution

    def attempts(self) -> dict[str, float]:
        """Accepted and rejected attempts of all solves until now, of the mean sample."""
        return {"accepted": round(self.accepted, 1), "rejected": round(self.rejected, 1)}
