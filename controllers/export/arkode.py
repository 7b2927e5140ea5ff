"""The part of a C header that SUNDIALS ARKODE calls: the operations of a `SUNAdaptController`.

Read and tried: SUNDIALS 7.5, `sundials_adaptcontroller.h`, `arkode.c`, `arkode_adapt.c`.  ARKODE calls
`estimatestep(C, h, p, dsm, &hnew)` once after every attempt, p the order of the embedding (its own controllers divide
by p + 1), and `updateh(C, h, dsm)` after an accepted step.  ARKODE itself accepts where dsm <= 1.

Traps.  No call says that an attempt was rejected: an estimate of dsm > 1 says it, and moves the state on at once.  One
of dsm <= 1 moves nothing, `updateh` does, so that no step enters the lags twice.  An attempt is not known by its
numbers: a retry may have the very size, and then the error, of the attempt before.  ARKODE shortens steps to land on a
stop time without a word, works with a signed h, multiplies the answer by its own safety factor (SetSafetyFactor 1
leaves it alone), and bounds its growth, and after repeated failures its size.

What it passes is the error, the size and the order.  A law that could read Newton's convergence too has rules for a
host that reports none.  A controller that needs more, decides on acceptance itself or is no law of the error is refused
by name, in a comment and, for who asks for the glue, by an #error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...integrators.core import record as rec
from ...integrators.core.contract import missing
from ..hosts.fitting import fit
from ..laws.coefficients import SPECS
from ..laws.law import Law
from ..learned.network import Learned
from .tracing import Traced, trace

#: what ARKODE gives, and what follows from it
GIVEN = frozenset({rec.ERR, rec.H, rec.H_FREE, rec.ORDER, rec.TRUNCATED, rec.FINITE})


def glue(controller: Any, name: str, traced: Traced, write: Callable[[Traced, str], list[str]]) -> list[str]:
    """The lines of the header's part for ARKODE.

    traced: the controller's decision.  write: `write(decision, suffix)`, the lines of its C function.
    """
    try:
        as_host = accepting(controller)
        own = trace(as_host)
        if [row for row, _, _ in own.state] != [row for row, _, _ in traced.state] or own.slots != traced.slots:
            raise ValueError("it needs another state or other slots when ARKODE decides on acceptance")
    except ValueError as problem:
        reason = str(problem).replace("*/", "* /").replace("/*", "/ *").replace('"', "'").replace("??", "? ?")
        reason = " ".join(reason.encode("ascii", "backslashreplace").decode().replace("\\", "/").split())
        return [
            f"/* Not for SUNDIALS ARKODE: {reason}. */",
            "#ifdef STEPSMITH_ARKODE",
            f'#error "{name}: {reason}"',
            "#endif",
        ]
    suffix, lines = "", list[str]()
    if as_host is not controller:
        suffix = "_where_the_host_accepts"
        lines = ["", "/* The controller with ARKODE's rule for acceptance, dsm <= 1, in the place of its own. */"]
        lines += write(own, suffix)[1:]
    sets = [f"    attempt.{rec.NAMES[slot]} = {_GIVEN[slot]};" for slot in traced.slots if slot in _GIVEN]
    text = _TEXT.replace("@sets@", "\n".join(sets)).replace("@answer@", f"{name}{suffix}_answer_to")
    return [*lines, *text.replace("@", name).strip("\n").split("\n")]


def accepting(controller: Any) -> Any:
    """`controller` with ARKODE's rule for acceptance, error <= 1; itself where that is its own.

    ValueError for one that ARKODE cannot run.
    """
    host = "SUNDIALS ARKODE"
    if missing(controller):
        raise ValueError(f"{host} takes the laws and learned controllers of stepsmith alone")
    fit(controller, host, GIVEN)
    if isinstance(controller, Learned):
        own = [action.name for action in controller.decision.actions if action.knob != "size"]
        if own:
            raise ValueError(f"{host} accepts by itself, and {controller.name} decides that by its action {own[0]}")
        law = _law(controller.decision.law)
        if law is controller.decision.law:
            return controller
        return controller.replace(decision=controller.decision.replace(law=law))
    if not isinstance(controller, Law):
        raise ValueError(f"{host} takes the laws and learned controllers of stepsmith alone")
    return _law(controller)


def _law(law: Law) -> Law:
    if law.kind != "linear":
        raise ValueError(f"SUNDIALS ARKODE accepts by an error, and law {law.name} proposes from none")
    none = SPECS["linear"]["accept_factor"].default
    if law["accept_err"] == 1.0 and law["accept_factor"] == none:
        return law
    return law.replace(accept_err=1.0, accept_factor=none)


_GIVEN = {
    rec.ERR: "dsm", rec.H: "fabs(h)", rec.H_FREE: "fabs(h)", rec.ORDER: "order", rec.TRUNCATED: "0.0",
    rec.FINITE: "(dsm - dsm == 0.0) ? 1.0 : 0.0",
}  # fmt: skip

_TEXT = """
/*
 * SUNDIALS ARKODE.  With the headers of SUNDIALS included and STEPSMITH_ARKODE defined before this one:
 *
 *     SUNAdaptController C = @_sunadaptcontroller(sunctx);
 *     ARKodeSetAdaptController(arkode_mem, C);
 *     ARKodeSetSafetyFactor(arkode_mem, 1.0); // the controller has its own
 *     ARKodeSStolerances(arkode_mem, SCALE * rtol, SCALE * atol); // SCALE: the tolerance scale above
 *
 * ARKODE decides on acceptance itself (dsm <= 1), bounds the answer by its own limits of growth and shrinking, and does
 * not say where it shortened a step to land on a stop time.  The two functions below are of use without SUNDIALS too.
 */
typedef struct {
    @_state state;
    double order; /* of the error estimate + 1 */
} @_arkode;

static inline void @_arkode_init(@_arkode *content)
{
    @_init(&content->state);
    content->order = 5.0;
}

/* Decide on the attempt (h, dsm) and move `state` on. */
static inline void @_look(@_state *state, double order, double h, double dsm, @_answer *answer)
{
    @_attempt attempt = @_blank();
@sets@
    @answer@(state, &attempt, answer);
}

/*
 * `estimatestep`, once an attempt: the size after the attempt (h, dsm); p is the order of the embedding.  An attempt of
 * dsm > 1 is a rejected one, and counts as such; one of dsm <= 1 changes nothing before `updateh`.
 */
static inline int @_estimate_step(void *content, double h, int p, double dsm, double *hnew)
{
    @_arkode *c = (@_arkode *)content;
    @_state after = c->state;
    @_answer answer;
    c->order = (double)p + 1.0;
    @_look(&after, c->order, h, dsm, &answer);
    if (!answer.accept) {
        c->state = after;
    }
    *hnew = h * answer.factor;
    return 0;
}

/* `updateh`: the step (h, dsm) was accepted.  One above the tolerance, which a host kept all the same, counts as 1. */
static inline int @_update_h(void *content, double h, double dsm)
{
    @_arkode *c = (@_arkode *)content;
    @_answer answer;
    @_look(&c->state, c->order, h, dsm <= 1.0 ? dsm : 1.0, &answer);
    return 0;
}

#ifdef STEPSMITH_ARKODE
#include <stdlib.h>

static inline SUNAdaptController_Type @_ark_gettype(SUNAdaptController C)
{
    (void)C;
    return SUN_ADAPTCONTROLLER_H;
}

static inline SUNErrCode @_ark_estimatestep(SUNAdaptController C, sunrealtype h, int p, sunrealtype dsm,
                                            sunrealtype *hnew)
{
    double size = 0.0;
    const int code = @_estimate_step(C->content, (double)h, p, (double)dsm, &size);
    *hnew = (sunrealtype)size;
    return code;
}

static inline SUNErrCode @_ark_updateh(SUNAdaptController C, sunrealtype h, sunrealtype dsm)
{
    return @_update_h(C->content, (double)h, (double)dsm);
}

static inline SUNErrCode @_ark_reset(SUNAdaptController C)
{
    @_arkode_init((@_arkode *)C->content);
    return SUN_SUCCESS;
}

/* NULL where there is no memory; SUNAdaptController_Destroy frees it with its content. */
static inline SUNAdaptController @_sunadaptcontroller(SUNContext sunctx)
{
    SUNAdaptController C = SUNAdaptController_NewEmpty(sunctx);
    @_arkode *content = (@_arkode *)malloc(sizeof(@_arkode));
    if (C == NULL || content == NULL) {
        free(content);
        if (C != NULL) {
            (void)SUNAdaptController_Destroy(C);
        }
        return NULL;
    }
    @_arkode_init(content);
    C->content = content;
    C->ops->gettype = @_ark_gettype;
    C->ops->estimatestep = @_ark_estimatestep;
    C->ops->updateh = @_ark_updateh;
    C->ops->reset = @_ark_reset;
    return C;
}
#endif /* STEPSMITH_ARKODE */
"""
