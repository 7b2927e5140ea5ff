"""The kernel of a stochastic differential equation, a method and a controller's structure: one generated module."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from ...checks import rhs_check
from ...compile.cache import load_module
from ...core import record
from ...core.binding import bind
from ...core.contract import N_OUT
from ...methods.sde import SDEMethod
from ...noise import bridge, normal
from .. import blocks, calls, templates
from ..build import Kernel, formula, header, known, phase_list, substitute
from ..environment import episodes as env_episodes
from ..environment import places, splitmix
from ..layout import MESSAGES as SHARED
from ..layout import Layout, block_layout
from . import attempts, episodes, loop, motion, paths

#: status of a path whose rejected attempts have left more ends than are kept
ENDLESS = -20
MESSAGES = {
    **SHARED,
    ENDLESS: "attempts were rejected without end; the last good state is returned",
}  # fmt: skip

#: places in the options of `run`, in the statistics of a path, and in its whole numbers
OPTIONS = ("t0", "t1", "rtol", "first", "fixed", "max_steps", "tree", "redraw")
STATS = (
    "status", "t", "naccept", "nreject", "nfallback", "naccept_over", "ndrift", "ndiffusion", "h_last", "h_next",
)  # fmt: skip
NUMBERS = (
    "KEY", "DRAWN", "AHEAD", "USED", "CELL", "CELL_END", "SEEN", "OUTPUT", "MARKS", "PATH", "LOADED",
)  # fmt: skip
#: intervals of the Brownian motion ahead of a path that are kept, and cells of a tree
DEPTH = 512
CELLS = 2**50

#: record slots that are filled with any method; ORDER, ERR, ENORM and YNORM with those of adaptive steps
FILLS = frozenset({
    record.ERR, record.H, record.H_FREE, record.ORDER, record.YNORM, record.ENORM, record.NF, record.T_LEFT,
    record.TRUNCATED, record.FINITE, record.RTOL, record.SPAN,
})  # fmt: skip


def fills(method: SDEMethod) -> frozenset[int]:
    """Record slots that attempts of a method fill."""
    return FILLS | ({record.HS} if method.stiffness is not None else frozenset())


@functools.cache
def _noise() -> dict[str, Callable]:
    """The functions of `noise` that kernels call."""
    from ...compile.lanes import inline

    given: dict[str, Callable] = {"normal": normal.normal}
    given |= {fn.__name__: fn for fn in (bridge.draw, bridge.split, bridge.join)}
    return {name: bind(fn, {}, inline) for name, fn in given.items()}


class _NoController:
    """What stands for a controller where steps have a given size."""

    key, n_state, phases, known = "", 1, (), ((), ())


NONE = _NoController()


def _layout(n: int, sizes: tuple[int, int], motions: int, n_state: int) -> Layout:
    """The rows of a path's block."""
    lay = block_layout(1, n, sizes[0], 4, n_state, N_OUT)
    rows = {"S": n, "E": n, "EU": n, "BEFORE": n, "Q": max(sizes[1], 1), "TT": 1, "SPENT_F": 1, "SPENT_G": 1}
    rows |= {"READY": 1} | {f"GG{i}": n for i in range(4)} | {f"U{i}": n for i in range(4)}
    rows |= {name: motions for name in ("DW", "HL", "WT", "HT")}
    for name, count in rows.items():
        lay.add(name, count)
    return lay


def _first(controller: Any, objects: dict[str, Any]) -> None:
    """Name the controller's own functions in `objects`."""
    from ...compile.vecmath import NAMESPACE

    objects["init"] = bind(controller.init, NAMESPACE)
    first = getattr(controller, "first", None)
    if first is not None:
        objects["first"] = bind(first, NAMESPACE)


def sde_kernel(
    method: SDEMethod, noise: str, functions: Mapping[str, Callable], n: int, sizes: tuple[int, int], controller: Any
) -> Kernel:
    """The kernel of a method for a kind of noise.

    functions: "drift" and "diffusion", each f(t, y, p, out).  n: dimension; sizes: their numbers of parameters.
    controller: an object of the controller contract, or `NONE` for steps of a given size.
    """
    plain, motions = controller is NONE, 1 if noise == "scalar" else n
    lay = _layout(n, sizes, motions, controller.n_state)
    objects: dict[str, Any] = {**functions, **_noise()}
    decide = "init = None\ndecide = None\n\n\n"
    if not plain:
        _first(controller, objects)
        kept = getattr(controller, "n_kept", None)
        phases = phase_list(controller.phases, objects, controller.n_state, known(controller), kept)
        decide = blocks.decide_source(phases, record.N_RECORD, controller.n_state, N_OUT)
    body = attempts.step_source(method, plain) + templates.text(motion) + decide + templates.text(loop, paths)
    return _kernel(lay, method, noise, plain, functions, n, sizes, controller.n_state, objects, body, DEPTH)


#: rows of an environment, behind those of a path
ENV_ROWS = ("ENTRY", "ENDED", "RETURN", "LENGTH", "WPAID", "LOGW", "BASEI", "BASEE")
#: intervals of the motion that an environment's lane keeps
ENV_DEPTH = 192
REWARDS = ("matched", "matched_end", "constraint")


def env_kernel(
    method: SDEMethod, noise: str, functions: Mapping[str, Callable], n: int, sizes: tuple[int, int], decision: Any
) -> tuple[Kernel, int]:
    """The kernel of an environment, and how many numbers a lane's row has.

    decision: features, apply and the slots between them.  The rest as for `sde_kernel`.
    """
    motions = 1 if noise == "scalar" else n
    lay = _layout(n, sizes, motions, decision.n_state)
    for name in ENV_ROWS:
        lay.add(name)
    ends = [lay.size]
    for more in (len(NUMBERS), 2 * ENV_DEPTH * (1 + 2 * motions), 2 * ENV_DEPTH * 3):
        ends.append(ends[-1] + more)
    objects: dict[str, Any] = {**functions, **_noise()}
    _first(decision, objects)
    # the law's parameters stand first; its lags are not dropped, features read them
    fixed = known(decision.law)[0] if hasattr(decision, "law") else ()
    objects["features"] = formula(decision.features, decision.n_state)
    objects["apply"] = formula(decision.apply, decision.n_state, fixed)
    constants = templates.constants(
        OBS_AT=decision.obs_at, ACT_AT=decision.act_at, N_OBS=decision.n_obs, N_ACT=decision.n_act,
        MATCHED=REWARDS.index("matched"), CONSTRAINT=REWARDS.index("constraint"),
        **dict(zip(("PAST_BLOCK", "PAST_NUMBERS", "PAST_PILE", "PAST_NODES"), ends, strict=True)),
        **templates.numbered(places.__name__),
    )  # fmt: skip
    body = (
        "import numpy as np\n" + constants + "\n\n" + attempts.step_source(method, plain=False)
        + templates.text(motion, loop, paths.start, paths.load, splitmix, env_episodes.lookup, episodes)
    )  # fmt: skip
    kernel = _kernel(lay, method, noise, False, functions, n, sizes, decision.n_state, objects, body, ENV_DEPTH)
    return kernel, ends[-1]


def _kernel(
    lay: Layout, method: SDEMethod, noise: str, plain: bool, functions: Mapping[str, Callable], n: int,
    sizes: tuple[int, int], n_state: int, objects: dict[str, Any], body: str, depth: int,
) -> Kernel:  # fmt: skip
    """The module of a body of pieces, below the names that they use."""
    m, nq = sizes
    source = (
        header(lay, n, m, n_state)
        + _constants(method, noise, plain, 1 if noise == "scalar" else n, "first" in objects, depth)
        + _guard("drift", functions["drift"], n, m)
        + _guard("diffusion", functions["diffusion"], n, nq)
        + re.sub(r"\bNQ\b", str(nq), substitute(body, lay, n, m, n_state, wide=False))
    )
    return Kernel(load_module(source, objects), lay, 1)


def _constants(method: SDEMethod, noise: str, plain: bool, motions: int, chooses: bool, depth: int) -> str:
    """Source lines of what differs between kernels, and of the places in arrays."""
    first, second = (0, 0) if method.stiffness is None else method.stiffness[:2]
    values: dict[str, Any] = {
        "MOTIONS": motions, "OWN": 0 if noise == "scalar" else 1, "DEPTH": depth, "CELLS": CELLS,
        "PLAIN": plain, "MIXED": method.scale == "max", "CHOOSES": chooses,
        "STIFFNESS": method.stiffness is not None and not plain, "ORDER": method.order(noise),
        "DRIFTS": float(method.nf_plain if plain else method.nf),
        "DIFFUSIONS": float(method.ng_plain if plain else method.ng), "ENDLESS": ENDLESS,
    }  # fmt: skip
    values |= {f"O_{name.upper()}": i for i, name in enumerate(OPTIONS)}
    values |= {f"STAT_{name.upper()}": i for i, name in enumerate(STATS)}
    values |= {name: i for i, name in enumerate(NUMBERS)}
    rows = f"K_FIRST = K{first}\nK_SECOND = K{second}\nU_FIRST = U{first}\nU_SECOND = U{second}\n"
    absent = "" if chooses else "first = None\n"
    return templates.constants(**values) + rows + absent + "\n\n"


def _guard(name: str, fn: Callable, n: int, m: int) -> str:
    """Source that puts a function of the problem behind what it needs (`calls.guard`)."""
    unproved, bounded = not rhs_check.proved(fn, "rhs", n, m), rhs_check.indexes_arrays(fn)
    return calls.guard(name, unproved, bounded) if unproved or bounded else ""
