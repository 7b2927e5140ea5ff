"""The loop opened up between the record and the decision: the kernel of the environments.

One call of `env_step` carries out an action (apply, commit), pays its reward, restarts lanes whose episode is over, makes the next
attempt and writes its observation, for every block of lanes.  An episode is one trajectory of a fixed pool of instances at a
tolerance drawn log-uniformly from the instance's `span`; both draws come from the lane's own counter-based generator (SplitMix64 of
the lane's key and its episode number), so that a lane's episodes do not depend on its neighbours.

Rewards (w is the number of right-hand sides so far, w_start those of the start, e the error reached, `table` the log of the baseline
law's work at that error on the same instance, `at_tol` its work and error at the same tolerance):
    matched     -(log w' - log w) an attempt, at the end + log w_base(e) - log w_start: the sum is log(w_base(e)/w)
    matched_end nothing an attempt, at the end log(w_base(e)/w): the same sum, and every return-to-go is free of the instance's own work
    constraint  -(w' - w)/w_base(tol) an attempt (the first pays w_start too), at the end -lambda max(0, log10(e/e_base(tol)))
`window` > 0 also charges every decade by which e leaves e_base(tol)/10..10 e_base(tol): a tolerance then keeps its meaning.
A trajectory that fails counts with the largest error of the table and pays `fail` on top.  With `time_discount` g < 1 a reward at time t
is multiplied by g**((t - t0)/(t1 - t0)).  Neither w nor e is observed: a return is a function of the whole episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..binding import bind
from ..cache import load_module
from . import blocks
from .build import N_ANSWER, Kernel, Parts, formula, header, known, substitute, wide_machine
from .env_source import driver_source, error_source
from .layout import block_layout

#: columns of the per-lane episode statistics, valid where an episode has just ended
EPISODE = ("return", "length", "nfev", "naccept", "nreject", "error", "log_ratio", "instance", "rtol", "status", "nfallback")

#: entries of the `consts` array
CONSTS = ("reward", "lambda", "fail", "log_gamma_t", "max_attempts", "same_step", "atol_factor", "window")  # fmt: skip

#: `consts[0]`
REWARDS = {"matched": 0.0, "constraint": 1.0, "matched_end": 2.0}

# rows of the environment, behind those of the method.  PAID: 1 where a finished episode waits for the next call, 2 where a lane is
# padding.  OVER: 1 terminated, 2 cut in this call.  WPAID: right-hand sides paid for.  BASEI: 1/w_base(tol).  PART: time discount
ROWS = ("ERRMAX", "LOGW", "LOGW0", "WPAID", "RETURN", "LENGTH", "SPAN", "BASEI", "BASEE", "PAID", "OVER", "PART", "PAY", "E0")


def env_kernel(
    parts: Parts,
    n: int,
    m: int,
    decision: Any,
    width: int,
    error: str,
    components: tuple[int, ...],
    invariant: Callable | None = None,
) -> Kernel:
    """Environment kernel of a method's parts and a decision (features, apply and the slots between them).

    error: "final" or "grid" (relative, against reference states at the instances' output times, over `components`) or "energy" (relative
    change of `invariant(t, y, p)` at the output times); the largest counts.
    """
    from ..vecmath import NAMESPACE

    wide = width > 1 and wide_machine()
    lay = block_layout(width, n, m, parts.slopes, decision.n_state, N_ANSWER, parts.extra)
    for row in ROWS:
        lay.add(row)
    # the law's parameters stand first; its lags are not dropped, features read them
    fixed = known(decision.law)[0] if hasattr(decision, "law") else ()
    objects: dict[str, Any] = {
        "init": bind(decision.init, NAMESPACE),
        "features": formula(decision.features, decision.n_state),
        "apply": formula(decision.apply, decision.n_state, fixed),
        **parts.objects,
    }
    first = getattr(decision, "first", None)
    if first is not None:
        objects["first"] = bind(first, NAMESPACE)
    if error == "energy":
        if invariant is None:
            raise ValueError("error 'energy' needs an invariant")
        objects["invariant"] = bind(invariant, NAMESPACE)
    body = (
        parts.attempt + "\n" + parts.start + "\n" + parts.dense + "\n"
        + blocks.begin_source()
        + error_source(error, components)
        + blocks.commit_source(n, parts.carry)
        + blocks.refill_source(first is not None)
        + driver_source(decision.n_obs, decision.obs_at, decision.n_act, decision.act_at)
    )  # fmt: skip
    constants = (
        "import numpy as np\n"
        "_U30 = np.uint64(30)\n_U27 = np.uint64(27)\n_U31 = np.uint64(31)\n_U11 = np.uint64(11)\n"
        "_M1 = np.uint64(0xBF58476D1CE4E5B9)\n_M2 = np.uint64(0x94D049BB133111EB)\n_GOLDEN = np.uint64(0x9E3779B97F4A7C15)\n"
        # a function of its own: called, not copied into its callers
        '_piece = _njit(nogil=True, fastmath=_FASTMATH, error_model="numpy")\n'
    )
    source = header(lay, n, m, decision.n_state) + constants + substitute(body, lay, n, m, decision.n_state, wide)
    if wide:
        source = source.replace("def set_out(A, params):\n", "def set_out(A, params):\n    wide_vectors()\n")
        source = source.replace("def look(A, params):\n", "def look(A, params):\n    wide_vectors()\n")
    return Kernel(load_module(source, objects), lay, width)
