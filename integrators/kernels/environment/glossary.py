"""What stands in the arrays that an environment's kernel is called with: meaning and unit of the places that `places`
and `paper_places` name.  `docs/kernels.md` shows these tables."""

from __future__ import annotations

#: of `env`.  array: {place: (what it holds, its unit)}, in the order of the places
ARRAYS: dict[str, dict[str, tuple[str, str]]] = {
    "consts": {
        "CONST_SAME_STEP": ("1 where a lane starts its next episode in the call that ended the last one", "-"),
        "CONST_LAGRANGE": ("multiplier of the rewards that price an error; may change between calls", "-"),
        "CONST_FAIL": ("what it costs not to reach the end", "reward"),
        "CONST_LOG_DISCOUNT": ("log of the discount for the whole span of time", "-"),
        "CONST_MAX_ATTEMPTS": ("attempts after which an episode is cut", "count"),
        "CONST_ATOL_FACTOR": ("absolute tolerance over the relative one", "y"),
        "CONST_WINDOW": ("cost a decade of error outside those about the baseline's", "reward"),
        "CONST_JACOBIAN": ("cost of a Jacobian", "right-hand sides"),
        "CONST_LU": ("cost of a factorisation", "right-hand sides"),
        "CONST_SOLVE": ("cost of a back-substitution", "right-hand sides"),
    },
    "grid_meta": {
        "GRID_ERROR_FIRST": ("log error of the first column of `table`", "-"),
        "GRID_ERROR_STEP": ("distance of its columns", "-"),
        "GRID_RTOL_FIRST": ("log relative tolerance of the first column of `at_tol`", "-"),
        "GRID_RTOL_STEP": ("distance of its columns", "-"),
    },
    "at_tol[i]": {
        "BASELINE_WORK": ("log work of the baseline at a tolerance", "-"),
        "BASELINE_ERROR": ("log error of the baseline at a tolerance", "-"),
    },
    "span[instance]": {
        "SPAN_LOW": ("log of the least relative tolerance that an episode is given", "-"),
        "SPAN_HIGH": ("log of the greatest", "-"),
    },
    "stats[lane]": {
        "EPISODE_RETURN": ("sum of the rewards", "reward"),
        "EPISODE_LENGTH": ("attempts", "count"),
        "EPISODE_NFEV": ("right-hand sides", "count"),
        "EPISODE_NACCEPT": ("accepted attempts", "count"),
        "EPISODE_NREJECT": ("rejected attempts", "count"),
        "EPISODE_ERROR": ("largest error by the family's measure; inf where the end was not reached", "-"),
        "EPISODE_LOG_RATIO": ("log of the baseline's work at that error over the work; -inf of a cut episode", "-"),
        "EPISODE_INSTANCE": ("number of the instance in the pool", "-"),
        "EPISODE_RTOL": ("relative tolerance", "-"),
        "EPISODE_STATUS": ("how the trajectory ended (`layout.MESSAGES`)", "-"),
        "EPISODE_NFALLBACK": ("answers that the base law gave instead", "count"),
    },
}

#: of `paper_env`
PAPER_ARRAYS: dict[str, dict[str, tuple[str, str]]] = {
    "consts": {
        "CONST_W0": ("weight of the energy error", "reward"),
        "CONST_W2": ("weight of the step size", "reward"),
        "CONST_HARMONIC": ("stands in the place of the decision's number where it is positive", "count"),
        "CONST_STEPS": ("decisions after which an episode is cut", "count"),
        "CONST_SAME_STEP": ("1 where a lane starts its next episode in the call that ended the last one", "-"),
        "CONST_LIMIT": ("energy error above which an episode ends", "-"),
        "CONST_INTERVAL": ("time that a decision is for", "yr"),
        "CONST_LENGTH_UNIT": ("unit of observed positions", "au"),
        "CONST_SPEED_UNIT": ("unit of observed velocities", "au/yr"),
        "CONST_MOST": ("greatest energy error told apart", "-"),
        "CONST_IN_TURN": ("1 where lanes play instances in turn, 0 where they draw them", "-"),
    },
    "stats[lane]": {
        "EPISODE_RETURN": ("sum of the rewards", "reward"),
        "EPISODE_LENGTH": ("decisions", "count"),
        "EPISODE_NFEV": ("right-hand sides", "count"),
        "EPISODE_NSTEPS": ("Hermite steps", "count"),
        "EPISODE_ERROR": ("energy error at the end; inf where an integration failed", "-"),
        "EPISODE_INSTANCE": ("number of the instance in the pool", "-"),
        "EPISODE_STATUS": ("how the trajectory ended (`layout.MESSAGES`)", "-"),
        "EPISODE_TIME": ("time at the end", "yr"),
    },
}


def markdown(arrays: dict[str, dict[str, tuple[str, str]]]) -> str:
    """The table of `docs/kernels.md`."""
    lines = ["| array | place | what stands there | unit |", "|---|---|---|---|"]
    for array, names in arrays.items():
        lines += [f"| `{array}` | `{name}` | {meaning} | {unit} |" for name, (meaning, unit) in names.items()]
    return "\n".join(lines)
