"""How a command of this package ends: its exit code, the one line on standard error, and after an interruption what was
kept and which command goes on.

    0      done
    1      what was asked for failed: a training that diverged, a folder in use or damaged, a full disk, a package that
           is not installed
    2      wrong usage: an unknown option, name or value, a file that is not there
    130    interrupted, by ctrl-C (SIGINT) or SIGTERM
    141    the reader of standard output is gone (`| head`)
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from ...integrators.core.errors import shown
from ...integrators.engine.spread import PartLost
from .interrupted import Kept, kept_by
from .runfiles import RunError, RunFailed

FAILED, USAGE, INTERRUPTED, CLOSED = 1, 2, 130, 141
LONGEST = 2000  # characters of an error message
AGAIN = 0.1  # seconds after which an interruption that was swallowed is made once more
#: what a missing or wrong path given by the caller raises
_NAMED = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
#: errors of work that was asked for rightly
_FAILURES = (RunFailed, RunError, PartLost)


def code_of(work: Callable[[], Any], again: Callable[[tuple[Kept, ...]], str], extra: str = "train") -> int:
    """Do `work` and return the exit code; errors become one line on standard error, others pass.

    work: what it returns is the code where it is a whole number.
    again: of what an interruption left, a line with the command that goes on, or begins anew.
    extra: of the package, which a missing library is looked for in where the error does not say so.
    """
    try:
        with _terminable(), _streams(), _lines():
            code = work()
    except BrokenPipeError:
        # Python would try to flush standard output once more when it ends, and say that it could not
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except KeyboardInterrupt as error:
        with _deaf():
            return interrupted(kept_by(error), again)
    except OSError as error:
        named = f"{shown(error.filename, 200)}: {error.strerror}" if error.filename and error.strerror else str(error)
        usage = isinstance(error, _NAMED) or error.errno == errno.ENAMETOOLONG
        return fail(named, USAGE if usage else FAILED)
    except (ValueError, PartLost) as error:
        code = FAILED if isinstance(error, _FAILURES) else USAGE
        return fail("; ".join([str(error), *getattr(error, "__notes__", ())]), code)
    except MemoryError as error:
        return fail(f"not enough memory for what was asked for: {error}", FAILED)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("stepsmith"):
            raise
        known = "pip install" in str(error)
        hint = f"{error}: install what brings it, pip install 'stepsmith[{extra}]'"
        return fail(str(error) if known else hint, FAILED)
    return code if isinstance(code, int) else 0


def leave(code: int) -> NoReturn:
    """End the program with `code`.  A signal that comes while Python ends its modules and threads ends it at once, with
    the same code.
    """

    def let(handler: Any) -> None:
        with contextlib.suppress(ValueError):  # not the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, handler)

    let(lambda *_: os._exit(code))
    atexit.register(let, signal.SIG_IGN)  # by then all threads have ended, and the rest takes a moment
    # Python kills itself by SIGINT, whatever the code, where an interruption once fell into exec or eval of a text, as
    # dataclasses make one, and forgets that at the next text
    exec("")
    sys.exit(code)


def fail(message: str, code: int = USAGE) -> int:
    """Say in one line what went wrong; returns `code`."""
    text = " ".join("".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in message).split())
    _say(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
    return code


def interrupted(kept: tuple[Kept, ...], again: Callable[[tuple[Kept, ...]], str]) -> int:
    """Say what an interruption left and which command goes on; returns the exit code."""
    _say("interrupted")
    for one in kept:
        _say(f"kept in {one.place}: {one.what}")
    if not kept:
        _say("nothing was kept")
    _say(again(kept))
    return INTERRUPTED


def command(program: Sequence[str], args: Sequence[str], more: Sequence[str] = ()) -> str:
    """The command of these arguments as a shell takes it, with `more` of them where they are not there yet."""
    added = [] if set(more) <= set(args) else list(more)
    end = args.index("--") if "--" in args else len(args)  # behind it nothing is an option
    return shlex.join([*program, *args[:end], *added, *args[end:]])


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(f"stepsmith: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Let no signal interrupt the block: a second ctrl-C must not cut off the words on what the first one left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """Give the block streams where the caller closed its own (`>&-`), which Python has as None."""
    with open(os.devnull, "w") as nowhere:
        closed = [name for name in ("stdout", "stderr") if getattr(sys, name) is None]
        for name in closed:
            setattr(sys, name, nowhere)
        try:
            yield
        finally:
            for name in closed:
                setattr(sys, name, None)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end a job, interrupt the block as ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, timers = os.getpid(), list[threading.Timer]()

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker, which has nothing to tell
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        raise KeyboardInterrupt

    def swallowed(lost: Any) -> None:
        """Interrupt once more where the interruption fell into a callback of C code, as LLVM's, which cannot raise."""
        if lost.exc_type is not None and issubclass(lost.exc_type, KeyboardInterrupt):
            timers.append(threading.Timer(AGAIN, os.kill, (owner, signal.SIGTERM)))
            timers[-1].daemon = True
            timers[-1].start()
        else:
            hook(lost)

    before, hook = signal.signal(signal.SIGTERM, stop), sys.unraisablehook
    sys.unraisablehook = swallowed
    try:
        yield
    finally:
        for timer in timers:  # it must not fall behind the block, where it would end the process
            timer.cancel()
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        if sys.unraisablehook is swallowed:
            sys.unraisablehook = hook


@contextlib.contextmanager
def _lines() -> Iterator[None]:
    """Let every line of standard output go out when it is whole, also into a file or a pipe."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper) or stream.line_buffering:
        yield
        return
    stream.reconfigure(line_buffering=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(line_buffering=False)
