"""The loop opened up between the record and the decision: the kernel of the environments.

One call of `env_step` carries out an action (apply, commit), pays its reward, restarts lanes whose episode is over,
makes the next attempt and writes its observation, for every block of lanes.  An episode is one trajectory of a fixed
pool of instances at a tolerance drawn log-uniformly from the instance's `span`; both draws come from the lane's own
counter-based generator (SplitMix64 of the lane's key and its episode number), so that a lane's episodes do not depend
on its neighbours.

The pieces are template modules: `episodes` and `entries` the loop, `errors` the measures of error, `pay` what the
rewards pay (`rewards` holds them by name), `propagated` what the reward of that name follows.  `places` names the
places in arrays.
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
from ..layout import Layout, block_layout
from . import env_source, propagate, rewards, series_rows
from .places import CONSTS as CONSTS
from .places import EPISODE as EPISODE

# rows of the environment, behind those of the method.  PAID: 1 where a finished episode waits for the next call, 2
# where a lane is padding, 3 where the first size is to be decided on.  OVER: 1 terminated, 2 cut in this call.  WPAID:
# work paid for.  BASEI: 1/w_base(tol).  PART: time discount
ROWS = (
    "ERRMAX", "LOGW", "LOGW0", "WPAID", "RETURN", "LENGTH", "SPAN", "BASEI", "BASEE", "PAID", "OVER", "PART", "PAY",
    "E0",
)  # fmt: skip


def env_kernel(
    parts: Parts,
    n: int,
    m: int,
    decision: Any,
    width: int,
    error: str,
    components: tuple[int, ...],
    rule: rewards.RewardRule,
    invariant: Callable | None = None,
    tableau: ExplicitTableau | None = None,
    floor: float = 0.0,
    actions: int = 0,
) -> Kernel:
    """Environment kernel of a method's parts, a decision (features, apply and the slots between them) and a reward.

    error: "final" or "grid" (relative, against reference states at the instances' output times, over `components`) or
    "energy" (relative change of `invariant(t, y, p)` at the output times); the largest counts.  tableau: the method's,
    which a reward that follows local errors takes half steps of.  floor: least size of a reference state that an error
    is relative to.  actions: number of actions of an environment that solves in series (`series_rows`), the decision's
    among them; 0 for others.
    """
    if error == "energy" and invariant is None:
        raise ValueError("error 'energy' needs an invariant")
    if rule.followed and tableau is None:
        raise ValueError(f"reward {rule.name!r} needs an explicit method's tableau")
    wide, followed = width > 1 and wide_machine(), tableau if rule.followed else None
    lay = block_layout(width, n, m, parts.slopes, decision.n_state, N_OUT, parts.extra, parts.together)
    _add_rows(lay, rule, followed, n, len(components))
    if actions:
        series_rows.add_rows(lay, decision.n_obs)
    objects = _objects(parts, decision, rule, invariant if error == "energy" else None)
    body = (
        parts.attempt + "\n" + parts.start + "\n" + parts.dense + "\n"
        + blocks.begin_source()
        + env_source.error_source(components, floor)
        + blocks.commit_source(n, parts.carry, parts.implicit, parts.marks)
        + blocks.refill_source("first" in objects)
        + env_source.driver_source(
            decision.n_obs, decision.obs_at, decision.n_act, decision.act_at, rule, followed, actions
        )
    )  # fmt: skip
    head = (
        header(lay, n, m, decision.n_state)
        + calls.guards(parts.objects, n, m)
        + env_source.constants(
            (decision.n_obs, decision.obs_at), error == "energy", parts.implicit, wide, followed, len(components),
            actions, decision.act_at,
        )
        + rule.constants(lay)
    )
    if "invariant" in objects and rhs_check.indexes_arrays(invariant):
        head += "from stepsmith.integrators.compile.lanes import bounded as _bounded\ninvariant = _bounded(invariant)\n"
    return Kernel(load_module(head + substitute(body, lay, n, m, decision.n_state, wide), objects), lay, width)


def _add_rows(lay: Layout, rule: rewards.RewardRule, followed: ExplicitTableau | None, n: int, components: int) -> None:
    for row in ROWS:
        lay.add(row)
    if followed is not None:
        propagate.add_rows(lay, followed, n, components)
    for row in rewards.rows() if rule.own else ():
        lay.add(row)


def _objects(parts: Parts, decision: Any, rule: rewards.RewardRule, invariant: Callable | None) -> dict[str, Any]:
    """The functions that the sources name."""
    from ...compile.vecmath import NAMESPACE

    # the law's parameters stand first; its lags are not dropped, features read them
    fixed = known(decision.law)[0] if hasattr(decision, "law") else ()
    objects: dict[str, Any] = {
        "init": bind(decision.init, NAMESPACE),
        "features": formula(decision.features, decision.n_state),
        "apply": formula(decision.apply, decision.n_state, fixed),
        **parts.objects,
        **rule.objects(),
    }
    first = getattr(decision, "first", None)
    if first is not None:
        objects["first"] = bind(first, NAMESPACE)
    if invariant is not None:
        objects["invariant"] = bind(invariant, NAMESPACE)
    return objects
