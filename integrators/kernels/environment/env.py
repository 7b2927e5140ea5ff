"""The loop opened up between the record and the decision: the kernel of the environments.

One call of `env_step` carries out an action (apply, commit), pays its reward, restarts lanes whose episode is over, makes the next
attempt and writes its observation, for every block of lanes.  An episode is one trajectory of a fixed pool of instances at a
tolerance drawn log-uniformly from the instance's `span`; both draws come from the lane's own counter-based generator (SplitMix64 of
the lane's key and its episode number), so that a lane's episodes do not depend on its neighbours.

Rewards (w is the work so far: right-hand sides, and Jacobians, factorisations and back-substitutions at the costs in `consts`;
w_start those of the start, e the error reached, `table` the log of the baseline law's work at that error on the same instance, `at_tol` its
work and error at the same tolerance):
    matched     -(log w' - log w) an attempt, at the end + log w_base(e) - log w_start: the sum is log(w_base(e)/w)
    matched_end nothing an attempt, at the end log(w_base(e)/w): the same sum, and every return-to-go is free of the instance's own work
    constraint  -(w' - w)/w_base(tol) an attempt (the first pays w_start too), at the end -lambda max(0, log10(e/e_base(tol)))
    propagated  100 [clock' - clock - (w' - w)/w_base(tol) - lambda (2/p) log((1 + |v'|/e(tol))/(1 + |v|/e(tol)))] an attempt: its progress
                on the reference's natural clock, its work, and what its local error makes of the relative final error so far, v (see
                `propagate`).  e(tol) is a quarter of the sum of errors that steps along the clock commit with the work w_base(tol):
                where |v| ends there, a little more work and the error it saves weigh the same at lambda = 1.  Every attempt is paid at
                once, so the returns-to-go have little variance.  Only for explicit methods and the error "final"
`window` > 0 also charges every decade by which e leaves e_base(tol)/10..10 e_base(tol): a tolerance then keeps its meaning.
A trajectory that fails counts with the largest error of the table (propagated: it misses what the clock had left) and pays `fail`
(propagated: 100 times) on top.  With `time_discount` g < 1 a reward at time t
is multiplied by g**((t - t0)/(t1 - t0)).  Neither w nor e is observed: a return is a function of the whole episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...checks import rhs_check
from ...compile.cache import load_module
from ...core.binding import bind
from ...core.contract import N_OUT
from ...methods.tableaus import ExplicitTableau
from .. import blocks, calls
from ..build import Kernel, Parts, formula, header, known, substitute, wide_machine
from ..layout import block_layout
from . import propagate, rewards, splitmix
from .env_source import driver_source, error_source

#: columns of the per-lane episode statistics, valid where an episode has just ended
EPISODE = ("return", "length", "nfev", "naccept", "nreject", "error", "log_ratio", "instance", "rtol", "status", "nfallback")

#: entries of the `consts` array
CONSTS = ("reward", "lambda", "fail", "log_gamma_t", "max_attempts", "same_step", "atol_factor", "window",
          "jacobian", "lu", "solve")  # fmt: skip

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
    propagated: ExplicitTableau | None = None,
    floor: float = 0.0,
    reward: rewards.RewardRule | None = None,
) -> Kernel:
    """Environment kernel of a method's parts and a decision (features, apply and the slots between them).

    error: "final" or "grid" (relative, against reference states at the instances' output times, over `components`) or "energy" (relative
    change of `invariant(t, y, p)` at the output times); the largest counts.  propagated: the method's tableau,
    for a kernel that can pay the reward of that name.  reward: a caller's own, for a kernel that pays it.
    """
    from ...compile.vecmath import NAMESPACE

    wide = width > 1 and wide_machine()
    lay = block_layout(width, n, m, parts.slopes, decision.n_state, N_OUT, parts.extra, parts.together)
    for row in ROWS:
        lay.add(row)
    if propagated is not None:
        propagate.add_rows(lay, propagated, n, len(components))
    own = reward is not None and reward.step is not None
    if own:
        for row in rewards.rows():
            lay.add(row)
    # the law's parameters stand first; its lags are not dropped, features read them
    fixed = known(decision.law)[0] if hasattr(decision, "law") else ()
    objects: dict[str, Any] = {
        "init": bind(decision.init, NAMESPACE),
        "features": formula(decision.features, decision.n_state),
        "apply": formula(decision.apply, decision.n_state, fixed),
        **parts.objects,
        **(rewards.objects(reward) if reward is not None else {}),
    }
    first = getattr(decision, "first", None)
    if first is not None:
        objects["first"] = bind(first, NAMESPACE)
    if error == "energy":
        if invariant is None:
            raise ValueError("error 'energy' needs an invariant")
        objects["invariant"] = bind(invariant, NAMESPACE)
    order = 0 if propagated is None else propagated.order
    body = (
        parts.attempt + "\n" + parts.start + "\n" + parts.dense + "\n"
        + blocks.begin_source()
        + error_source(error, components, floor)
        + blocks.commit_source(n, parts.carry, parts.implicit, parts.marks)
        + blocks.refill_source(first is not None)
        + (propagate.propagate_source(propagated, len(components)) if propagated is not None else "")
        + driver_source(decision.n_obs, decision.obs_at, decision.n_act, decision.act_at, order, len(components), parts.implicit, own)
    )  # fmt: skip
    head = header(lay, n, m, decision.n_state) + calls.guards(parts.objects, n, m) + splitmix.CONSTANTS
    if "invariant" in objects and rhs_check.indexes_arrays(invariant):
        head += "from stepsmith.integrators.compile.lanes import bounded as _bounded\ninvariant = _bounded(invariant)\n"
    source = head + substitute(body, lay, n, m, decision.n_state, wide)
    if wide:
        source = source.replace("def set_out(A, params):\n", "def set_out(A, params):\n    wide_vectors()\n")
        source = source.replace("def look(A, params):\n", "def look(A, params):\n    wide_vectors()\n")
    return Kernel(load_module(source, objects), lay, width)
