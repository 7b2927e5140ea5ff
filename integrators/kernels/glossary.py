"""What the rows of a block hold: meaning, unit, which piece of the loop writes them, which ones read them.

`layout` says where they lie; `docs/kernels.md` shows this table, and `stepsmith kernel` prints it above a generated
module.
"""

from __future__ import annotations

import re

from .layout import Layout

#: row: (what it holds, its unit, who writes it, who reads it); "y" stands for the units of a state component, "t" for
#: those of time
ROWS: dict[str, tuple[str, str, str, str]] = {
    "T": ("time of the state", "t", "load, commit", "begin, attempt, dense"),
    "TEND": ("end of the span", "t", "load", "begin, commit"),
    "DIR": ("direction of integration, 1 or -1", "-", "load", "begin, start, commit"),
    "H": ("size asked for next, positive", "t", "load, start, start_fresh, commit", "begin"),
    "HS": (
        "size of the attempt with its sign; 0 where the lane stands still",
        "t",
        "load, begin",
        "attempt, commit, dense",
    ),
    "STATUS": (
        "RUNNING, SUCCESS, IDLE or a failure (`layout.MESSAGES`)",
        "-",
        "load, begin, start, commit, store, env_step",
        "all",
    ),
    "INST": ("number of the instance in the lane, -1 for none", "-", "load, store", "store, emit, settle"),
    "FRESH": ("1 where the lane has just been loaded", "-", "load, start_fresh", "start, start_fresh"),
    "NACC": ("accepted attempts", "count", "load, commit", "store"),
    "NREJ": ("rejected attempts", "count", "load, commit", "store"),
    "NFEV": ("right-hand sides", "count", "load, start, commit, emit", "store"),
    "NFALL": ("answers of a learned controller that its base law gave instead", "count", "load, commit", "store"),
    "RTOL": ("relative tolerance", "-", "load", "begin, attempt, start"),
    "HZERO": ("first size that the caller gave, else NaN", "t", "load", "start, start_fresh"),
    "NEXT": ("index of the next output", "count", "load, emit", "emit"),
    "TOUT": ("time of the next output, times DIR; inf behind the last", "t", "load, emit", "commit"),
    "MAXSTEP": ("attempts the lane may make", "count", "load", "commit"),
    "HLAST": ("size of the last accepted attempt", "t", "load, commit", "store"),
    "STUCK": ("1 where the last attempt was rejected", "-", "load, commit", "begin"),
    "LANDS": ("1 where the attempt ends at TEND", "-", "begin", "commit, attempt"),
    "ACC": ("1 where the attempt was accepted", "-", "commit, emit", "commit"),
    "TN": ("time at the end of the attempt", "t", "commit", "commit, emit"),
    "S0": ("scratch", "-", "attempt, start", "attempt, start"),
    "S1": ("scratch", "-", "attempt, start", "attempt, start"),
    "S2": ("scratch", "-", "attempt, start", "attempt, start"),
    "S3": ("scratch", "-", "attempt, start", "attempt, start"),
    "S4": ("scratch; of Rosenbrock methods the time of a stage", "-", "attempt, start", "attempt, start"),
    "NJEV": ("Jacobians", "count", "load, commit", "store"),
    "NLU": ("factorisations", "count", "load, commit", "store"),
    "NSOLVE": ("back-substitutions", "count", "load, commit", "store"),
    "DONE": ("1 where an implicit attempt has run and waits for its decision", "-", "attempt, commit", "attempt"),
    "NOVER": ("accepted attempts with an error estimate above 1", "count", "load, commit", "store"),
    "COARSE": ("1 where the span is short beside the clock's resolution", "-", "load", "begin, attempt"),
    "R": ("the attempt record (`core.record`)", "see there", "begin, attempt", "decide, commit"),
    "CS": ("the controller's state, the shared head first", "-", "start_fresh, decide", "decide"),
    "CO": ("the controller's answer (`core.contract`)", "-", "decide", "commit"),
    "Y": ("state", "y", "load, commit", "attempt, dense, store"),
    "YN": ("state at the end of the attempt", "y", "load, attempt", "commit, emit"),
    "G": ("state of a stage", "y", "attempt, start", "attempt, start"),
    "Z": ("state at an output time", "y", "dense", "emit"),
    "ATOL": ("absolute tolerance", "y", "load", "attempt, start"),
    "P": ("parameters of the problem", "the problem's", "load", "right-hand side"),
    "K": ("slopes of the stages, K0 at the start of the step", "y/t", "start, attempt, commit", "attempt, dense"),
    "X": (
        "rows of the method's own: Jacobian, factors, what is kept from attempt to attempt",
        "-",
        "attempt, start",
        "attempt, dense",
    ),
    # trajectories that are followed: events, stops
    "WAIT": ("what the lane waits for before its next attempt (`pieces.slots`)", "-",
             "load_followed, accepted, halt, prepare_start", "start_waiting"),
    "HALT": ("what an event did to the step: 0 nothing, 1 ended the solve, 2 changed the state, 3 was NaN, 4 recurs "
             "without end", "-", "find_events, handle_roots", "accepted, halt"),
    "HALT_AT": ("theta at which the step was halted, 1 where it was not", "-", "find_events, handle_roots", "accepted"),
    "NEXT_STOP": ("index of the stop that the lane heads for", "count", "load_followed, accepted, halt", "aim"),
    "STOP_AT": ("time of that stop, or of the end; TEND is a number before it", "t", "aim", "accepted, prepare_start"),
    "SKIPPED": ("accepted steps since a state was kept", "count", "accepted, keep_state", "accepted"),
    "YR": ("state after a reset", "y", "change", "prepare_start"),
    "GLAST": ("value of an event at the end of the last step", "the event's", "begin_events, find_events",
              "look_at_nodes"),
    "GFIRED": ("value of an event where its reset fired", "the event's", "handle_roots", "resume_events"),
    "VALUES": ("values of an event at the nodes of the step", "the event's", "look_at_nodes", "find_events, roots_of"),
    "NODE_TH": ("theta of these nodes", "-", "look_at_nodes", "roots_of"),
    "LARGEST": ("largest change of an event's value between two nodes", "the event's", "find_events", "find_events"),
    "SIDE": ("sign of an event's value, 0 while it has none", "-", "begin_events, take_side, handle_roots", "roots_of"),
    "COUNT": ("how many times an event has happened", "count", "keep_event", "handle_roots"),
    "CROSSED": ("direction in which an event with a reset was crossed where the step is halted", "-", "handle_roots",
                "change, resume_events"),
    "FIRED": ("the same while its value has not left its rounding since that reset", "-", "resume_events",
              "take_side"),
    "NOISE": ("rounding of an event's value just after its reset", "the event's", "resume_events", "take_side"),
    "REPEATS": ("resets that followed each other without progress in time", "count", "check_progress", "find_events"),
    "TFIRED": ("time of the last reset", "t", "check_progress", "check_progress"),
    "GV": ("an event's value", "the event's", "value", "value"),
    "ROOT_TH": ("theta of the zeros of a piece, in order", "-", "add_root", "handle_roots"),
    "ROOT_EVENT": ("events that these zeros belong to", "-", "add_root", "handle_roots"),
    "ROOT_DIR": ("whether the value rises there, 1, or falls, -1", "-", "add_root", "handle_roots"),
    # environments
    "ERRMAX": ("largest error of the episode so far, by the family's measure", "-", "restart, emit", "settle"),
    "LOGW": ("log of the work so far", "-", "started_lane, pay_lane", "attempt_matched, end_matched_end, settle"),
    "LOGW0": ("log of the work of the start; -1 before it is known", "-", "restart, started_lane", "end_matched"),
    "WPAID": ("work that has been paid for", "count", "restart, pay_lane", "share_spent, see_decision"),
    "RETURN": ("sum of the episode's rewards", "-", "restart, pay_lane, settle", "settle"),
    "LENGTH": ("attempts of the episode", "count", "restart, pay_lane", "pay_lane, settle"),
    "SPAN": ("length of the span", "t", "restart, env_reset", "discount_lane, see_decision"),
    "BASEI": (
        "1 over the baseline's work at this tolerance",
        "1/count",
        "restart",
        "share_spent, see_decision, forget",
    ),
    "BASEE": ("log of the baseline's error at this tolerance", "-", "restart", "decades_above"),
    "PAID": (
        "1 where a finished episode waits for the next call, 2 in padding, 3 where its first size is to be decided on",
        "-",
        "restart, set_first, env_reset, begin_decided, env_step",
        "pay_lane, share_spent, own_lane, propagate, env_step",
    ),
    "OVER": (
        "1 where the episode has terminated, 2 where it was cut",
        "-",
        "restart, pay_lane",
        "settle, write_ends, env_step",
    ),
    "PART": ("discount of the time that has passed", "-", "restart, discount_lane", "pay_lane, settle"),
    "PAY": ("reward of the call", "-", "pay_lane, settle", "write_ends"),
    "E0": ("energy at the start", "the invariant's", "restart", "emit"),
    "NODE": (
        "propagated reward: the last knot of the sensitivities that was passed",
        "count",
        "forget, propagate",
        "propagate",
    ),
    "CLOCK": ("propagated reward: knots passed, as a share of all", "-", "forget, propagate", "propagate"),
    "PROP": ("propagated reward: what the attempt added to log(1 + price norm(v))", "-", "propagate",
             "attempt_propagated"),
    "GAIN": ("propagated reward: what the attempt added to the clock", "-", "propagate", "attempt_propagated"),
    "PRICE": ("propagated reward: price of norm(v)", "-", "forget", "propagate"),
    "EV": ("propagated reward: v, what errors became at the end, a component", "y", "forget, propagate", "propagate"),
    "EY": ("propagated reward: state of the half steps that measure the local error", "y", "propagate", "propagate"),
    "EG": ("propagated reward: stage of the half steps", "y", "propagate", "propagate"),
    "EK": ("propagated reward: slopes of the half steps", "y/t", "propagate", "propagate"),
    "FACT": (
        "what a caller's own reward may look at (`environment.rewards`)",
        "-",
        "see_attempt, see_decision, end_own",
        "own_lane, end_own",
    ),
    "OWNPAY": ("what a caller's own reward pays for the attempt", "-", "own_lane", "attempt_own"),
    "WARM": ("in series: size that the solve before asked for after its first step; NaN: none", "t",
             "forget_last, note_end", "set_first"),
    "NEXTH": ("in series: size asked for after the first accepted step; NaN before", "t", "set_first, note_size",
              "note_end"),
    "FIRST": ("in series: action on the first size", "-", "set_first, read_more", "begin_decided, move_first"),
    "DIVIDED": ("in series: action on the division of what is left", "-", "set_first, read_more", "divide"),
    "SEEN": ("in series: observation of the last solve's first attempt", "-", "forget_last, note_attempt",
             "show_last"),
    "MORE": ("in series: what is observed beside the features (`series_rows`)", "-",
             "set_first, begin_decided, note_end", "write_more, write_obs"),
    # of a portfolio of methods
    "BACK": ("1 where the lane comes from another method of the portfolio", "-", "take, resume", "restore"),
    "WANT": ("method of the portfolio that the decision asks for, plus 1; 0: none, or this one", "-", "choose_lane",
             "leave_lane, hand_over"),
    "JNORM": ("maximum norm of the Jacobian, in a portfolio whose rule reads it", "1/t", "spectral", "spectral"),
    # the three-body paper's environment; of its working block: TAU, GO, BUSY
    "MU": ("accuracy parameter of the decision", "-", "env_step, take", "size_lane, pay"),
    "MARK": ("time at which the decision ends", "t", "env_step, take", "step_lane"),
    "TAU": ("time scale of the next step", "t", "take, step_lane", "size_lane"),
    "EREL": ("energy error of the episode so far", "-", "restart, pay", "write_lane"),
    "NSTEPS": ("Hermite steps", "count", "restart, take, step_lane, bring_back", "size_lane, pay"),
    "LIVE": ("1 where the lane takes part in decisions", "-", "restart, env_reset, env_step", "advance"),
    "GO": ("1 where the lane makes the step", "-", "size_lane", "step_lane"),
    "BUSY": (
        "1 where the lane of the working block is taken",
        "-",
        "take, bring_back, advance",
        "size_lane, step_lane",
    ),
}


def entry(row: str) -> tuple[str, str, str, str] | None:
    """The entry of a row, by its name or by that of its group (K0, K1, ...: K); None where there is none."""
    return ROWS.get(row) or ROWS.get(re.sub(r"\d+$", "", row))


def markdown() -> str:
    """The table of `docs/kernels.md`."""
    lines = ["| row | what it holds | unit | written by | read by |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {' | '.join(cells)} |" for name, cells in ROWS.items())])


def comments(lay: Layout) -> str:
    """The rows of a block as comment lines."""
    out, seen = [], set()
    for name, row in lay.rows.items():
        group = name if name in ROWS else re.sub(r"\d+$", "", name)
        found = entry(name)
        if found is None:
            raise KeyError(f"row {name} has no entry in the glossary")
        if group in seen:
            continue
        seen.add(group)
        out.append(f"#   {group:<8} from row {row:>4}  {found[0]} [{found[1]}]")
    return "\n".join(out) + "\n"
