"""Source of the environment kernel's own pieces, from the templates `errors`, `pay`, `propagated`, `episodes` and
`entries`.

`env` says what they do and puts the kernel together.
"""

from __future__ import annotations

from ...methods.tableaus import ExplicitTableau
from .. import templates
from . import entries, episodes, errors, places, propagate, rewards, series, series_rows, splitmix


def constants(
    decision_size: tuple[int, int],
    energy: bool,
    implicit: bool,
    wide: bool,
    propagated: ExplicitTableau | None,
    components: int,
    actions: int = 0,
    act_at: int = 0,
) -> str:
    """Source lines of what differs between kernels and of the places in arrays; decision_size: (numbers of the
    observation, where they begin in the decision's state).  actions, act_at: as in `series_rows.constants`."""
    n_obs, obs_at = decision_size
    return (
        "import numpy as np\n"
        + templates.constants(IMPLICIT=implicit, ENERGY=energy, WIDE=wide, N_OBS=n_obs, OBS_AT=obs_at)
        + templates.constants(**templates.numbered(places.__name__))
        + series_rows.constants(actions, act_at)
        + (propagate.constants(propagated, components) if propagated is not None else "")
    )


def driver_source(
    n_obs: int,
    obs_at: int,
    n_act: int,
    act_at: int,
    rule: rewards.RewardRule,
    propagated: ExplicitTableau | None,
    actions: int = 0,
) -> str:
    """What stands behind the method's pieces and `start_fresh`: the generator, the reward, episodes, `env_reset`,
    `env_step`.  actions: of a kernel that solves in series, all of them; else 0."""
    return (
        templates.text(splitmix)
        + rule.source()
        + (propagate.propagate_source(propagated) if propagated is not None else "")
        + (templates.text(series) if actions else "")
        + templates.text(episodes)
        + copies(n_obs, obs_at, n_act, act_at, len(series_rows.MORE_NAMES) if actions else 0)
        + templates.text(entries)
    )


#: components up to which an error's sums are written out
WRITTEN_OUT = 16


def error_source(components: tuple[int, ...], floor: float) -> str:
    """`emit`, and what it takes: stands before `commit`."""
    return distance(components, floor) + templates.text(errors)


def distance(components: tuple[int, ...], floor: float) -> str:
    """`reference_error(A, l, ROW, ref, b, q)`: distance of the state in rows ROW of lane l from the reference state at
    output q of instance b, over `components`, relative to the reference's size, which counts as at least `floor`."""
    term = "    d = A[ROW + {0}*W + l] - ref[b, q, {0}]\n    num += d*d\n    den += ref[b, q, {0}]*ref[b, q, {0}]\n"
    sums = "".join(term.format(i) for i in components)
    if len(components) > WRITTEN_OUT:
        loop = term.format("i").replace("    ", "        ")
        sums = f"    for i in {tuple(components)!r}:\n{loop}"
    return f"""@_inline
def reference_error(A, l, ROW, ref, b, q):
    num = 0.0
    den = 0.0
{sums}    return sqrt(num)/maximum(sqrt(den), {floor!r})


"""


def copies(n_obs: int, obs_at: int, n_act: int, act_at: int, more: int = 0) -> str:
    """`write_obs`, `read_actions`: lanes of a block to the observations and from the actions, a line a number, so that
    the loop over lanes becomes vector code.  more: numbers that are observed beside the controller's."""
    obs = "".join(f"        obs[base + l, {i}] = A[CS + {obs_at + i}*W + l]\n" for i in range(n_obs))
    obs += "".join(f"        obs[base + l, {n_obs + i}] = A[MORE + {i}*W + l]\n" for i in range(more))
    act = "".join(f"        A[CS + {act_at + i}*W + l] = actions[base + l, {i}]\n" for i in range(n_act))
    return f"""@_inline
def write_obs(A, base, count, obs):
    for l in range(count):
{obs}

@_inline
def read_actions(A, base, count, actions):
    for l in range(count):
{act}

"""
