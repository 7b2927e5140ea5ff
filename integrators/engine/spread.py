"""A function over parts by an executor: workers of this machine, of a cluster, or none at all.

`spread(function, parts, executor)` is `[function(shared, part) for part in parts]`, whoever does the work: a
`concurrent.futures.ProcessPoolExecutor` or `ThreadPoolExecutor`, Dask's `Client.get_executor()`, mpi4py's
`MPIPoolExecutor`, or Ray's workers (`train.machines`).  It schedules nothing itself.  What it adds is

- results in the order of the parts, whatever the order in which they come;
- a part whose worker died is taken up again; where it is lost too often, one error says which it is;
- an exception of a part is raised here as it was raised there, with a note that names the part;
- an error or an interrupt (ctrl-C) takes back the parts that have not begun;
- an executor that is shut down meanwhile is an error, not an endless wait.

Functions and parts are pickled by cloudpickle, so that functions of a script or a notebook go along by value.  A part
runs on one core of its worker; a function that is told how many threads to use does so.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

from ..core import options
from ..problems import places
from .cores import limited

#: times that a part whose worker died is taken up again
RETRIES = 3
#: parts for every worker where the caller does not say how many: they end at different times
EACH = 4
#: workers of an executor that does not tell how many it has
UNTOLD = 8
#: by package, the exceptions that say that a part's worker died
_DIED = {
    "ray": ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "OutOfMemoryError", "ObjectLostError"),
    "distributed": ("KilledWorker",),
}
#: what a worker has unpacked of `Shared`, the last ones by their digest
_UNPACKED: dict[str, Any] = {}
_KEPT = 4
#: a worker may run several parts in threads (Dask), and several threads may share out work at once
_UNPACKING, _PACKING = threading.Lock(), threading.RLock()


def _free() -> None:
    """New locks in a process that was forked: nobody is there to release those that another thread held."""
    global _UNPACKING, _PACKING
    _UNPACKING, _PACKING = threading.Lock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free)

#: an executor that broke, and the one that works in its place
_INSTEAD: weakref.WeakKeyDictionary[Executor, Executor] = weakref.WeakKeyDictionary()


class PartLost(RuntimeError):
    """A part was lost more often than it is taken up again, for its worker died every time."""


class _There(Exception):
    """The traceback of a part's exception, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Shared:
    """What all parts need: packed once, and unpacked once by every worker.  It must not change afterwards."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._packed: tuple[str, bytes] | None = None

    @property
    def packed(self) -> tuple[str, bytes]:
        """Its digest and its pickle."""
        if self._packed is None:
            data = _pack(self.value)
            self._packed = hashlib.sha256(data).hexdigest(), data
        return self._packed


def checked(executor: Any) -> Executor | None:
    """`executor` itself; OptionError for what is neither an executor nor None."""
    if executor is None or (callable(getattr(executor, "submit", None)) and callable(getattr(executor, "map", None))):
        return executor
    raise options.refuse(
        "executor", "None or a concurrent.futures.Executor, such as ProcessPoolExecutor(4)", executor
    )


def workers(executor: Executor) -> int:
    """How many parts it can run at once, as far as it tells."""
    for name in ("_max_workers", "num_workers"):  # of concurrent.futures and ours, of mpi4py
        found = getattr(executor, name, None)
        if isinstance(found, int) and found > 0:
            return found
    client: Any = getattr(executor, "_client", None)  # of Dask
    cores = sum(client.ncores().values()) if hasattr(client, "ncores") else 0
    return cores or UNTOLD


def stop(executor: Executor) -> None:
    """End an executor at once: parts that have not begun are taken back, and processes are ended where they are."""
    for each in (executor, _INSTEAD.get(executor)):
        if each is not None:
            processes = list((getattr(each, "_processes", None) or {}).values())
            each.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()


def spread(
    function: Callable[[Any, Any], Any],
    parts: Sequence[Any],
    executor: Executor | None,
    *,
    shared: Any = None,
    what: str = "part",
    named: Callable[[int], str] | None = None,
    retries: int = RETRIES,
    taken: Callable[[int, Any], None] | None = None,
) -> list[Any]:
    """`[function(shared, part) for part in parts]`, in that order.

    executor: None calls the function here.  shared: what all parts need, or a `Shared` that holds it and serves several
    calls.  what: what a part is called in errors; named: what part i is, in words.  retries: how often a lost part is
    taken up again.  taken: called here with the number of a part and its result when that has come, in any order.

    Raises what a part raises, and `PartLost`.
    """
    held = shared if isinstance(shared, Shared) else Shared(shared)
    if checked(executor) is None:
        out = []
        for i, part in enumerate(parts):
            out.append(function(held.value, part))
            if taken is not None:
                taken(i, out[-1])
        return out
    assert executor is not None
    return _Spread(function, list(parts), executor, held, what, named, retries, taken).results()


class _Spread:
    """The parts of one call, and where they are."""

    def __init__(
        self, function: Callable[[Any, Any], Any], parts: list[Any], executor: Executor, shared: Shared, what: str,
        named: Callable[[int], str] | None, retries: int, taken: Callable[[int, Any], None] | None,
    ) -> None:  # fmt: skip
        self.function, self.parts, self.given, self.shared = function, parts, executor, shared
        self.what, self.named, self.retries, self.taken = what, named, retries, taken
        self.lost = [0] * len(parts)
        #: parts that wait for their turn, and those whose last try is made while no other part is under way
        self.todo, self.alone = deque(range(len(parts))), deque[int]()
        self.under_way: dict[Future[Any], tuple[int, Executor]] = {}
        #: those under way that are through, by their callbacks: `concurrent.futures.wait` is never told of those that
        #: an executor cancels as it is shut down
        self.through: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def results(self) -> list[Any]:
        """The results in the order of the parts."""
        found: list[Any] = [None] * len(self.parts)
        try:
            while self.todo or self.alone or self.under_way:
                while self.todo:
                    self.submit(self.todo.popleft())
                if not self.under_way:
                    self.submit(self.alone.popleft())
                done = [self.through.get()]
                while not self.through.empty():
                    done.append(self.through.get())
                for future in sorted(done, key=lambda f: self.under_way[f][0]):
                    i, executor = self.under_way.pop(future)
                    if future.cancelled():
                        raise RuntimeError(f"{self.name(i)} was cancelled: the executor was shut down meanwhile")
                    if (error := future.exception()) is None:
                        found[i] = self.opened(i, future.result())
                        if self.taken is not None:
                            self.taken(i, found[i])
                    else:
                        self.again(i, error, executor)
        except BaseException:  # an interrupt, too
            for future in self.under_way:
                future.cancel()
            raise
        return found

    def submit(self, i: int) -> None:
        """Hand part i to the executor."""
        executor = _INSTEAD.get(self.given, self.given)
        if isinstance(executor, ThreadPoolExecutor):  # the same memory: nothing is packed
            call: tuple[Any, ...] = (_here, self.function, self.shared.value, self.parts[i])
        else:
            call = (_there, _pack((self.function, self.parts[i])), *self.shared.packed, self.lost[i])
        try:
            future = executor.submit(*call)
        except BrokenExecutor as error:
            self.replace(executor, error)
            future = (executor := _INSTEAD[self.given]).submit(*call)
        self.under_way[future] = i, executor
        future.add_done_callback(self.through.put)

    def opened(self, i: int, answer: Any) -> Any:
        """The result of part i, or its exception."""
        good, value, there = answer if isinstance(answer, tuple) else _unpack(answer)
        if good:
            return value
        value.add_note(f"raised in {self.name(i)}")
        if isinstance(answer, tuple):  # of a thread: its traceback is here
            raise value
        raise value from _There(there)

    def name(self, i: int) -> str:
        """What part i is called."""
        said = f"{self.what} {i + 1} of {len(self.parts)}"
        return said if self.named is None else f"{said} ({self.named(i)})"

    def again(self, i: int, error: BaseException, executor: Executor) -> None:
        """Take up part i again after its worker died; any other error is raised."""
        broke = isinstance(error, BrokenExecutor) and not isinstance(error, BrokenThreadPool)
        if not broke and not _died(error):
            raise error
        self.lost[i] += 1
        if self.lost[i] > self.retries:
            raise PartLost(
                f"{self.name(i)} was lost {self.lost[i]} times: the worker that had it died each time (its memory ran "
                f"out, or it was killed); the last error was {type(error).__name__}: {options.shown(str(error), 200)}"
            ) from error
        if broke and _INSTEAD.get(self.given, self.given) is executor:
            self.replace(executor, error)
        # a pool that breaks loses all that it has: the last try of each says whose fault it is
        (self.alone if broke and self.lost[i] == self.retries else self.todo).append(i)

    def replace(self, executor: Executor, error: BaseException) -> None:
        """Put a new executor in the place of one that broke; it ends when the caller's own is forgotten."""
        if type(executor) is not ProcessPoolExecutor:
            raise PartLost(
                f"the executor broke, and there is no way to begin a {type(executor).__name__} again: "
                f"{options.shown(str(error), 200)}"
            ) from error
        settings = (executor._max_workers, executor._mp_context, executor._initializer, executor._initargs)  # type: ignore[attr-defined]
        most = getattr(executor, "_max_tasks_per_child", None)
        executor.shutdown(wait=False)
        _INSTEAD[self.given] = ProcessPoolExecutor(*settings, max_tasks_per_child=most)


def _died(error: BaseException) -> bool:
    """Whether an error of an executor says that the part's worker died."""
    kinds = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]
    return any(name in _DIED.get(package, ()) for package, name in kinds)


def _here(function: Callable[[Any, Any], Any], shared: Any, part: Any) -> tuple[bool, Any, str]:
    """(True, result, ""), or (False, exception, its traceback)."""
    try:
        with limited(1):
            return True, function(shared, part), ""
    except Exception as error:
        return False, error, traceback.format_exc()


def _there(task: bytes, digest: str, shared: bytes, tried: int) -> bytes:
    """As `_here`, in another process: a packed function and part, and what is shared.

    tried: how often the part was lost; Dask takes two calls with the same arguments for one.
    """
    try:
        function, part = _unpack(task)
        answer = _here(function, _unpacked(digest, shared), part)
    except Exception as error:
        answer = False, error, traceback.format_exc()
    with contextlib.suppress(Exception):  # an exception or a result that cannot be pickled, or not be unpickled again
        data = _pack(answer)
        if answer[0] or _unpack(data):
            return data
    kind = type(answer[1]).__name__
    said = f"the result, a {kind}, cannot be pickled" if answer[0] else f"{kind}: {answer[1]}"
    return _pack((False, RuntimeError(said), answer[2]))


def _unpacked(digest: str, shared: bytes) -> Any:
    """What `shared` holds, unpacked once while it is among the last `_KEPT`."""
    with _UNPACKING:
        if digest not in _UNPACKED:
            value = _unpack(shared)
            while len(_UNPACKED) >= _KEPT:
                del _UNPACKED[next(iter(_UNPACKED))]
            _UNPACKED[digest] = value
        return _UNPACKED[digest]


def _pack(value: Any) -> bytes:
    """A pickle of `value`; functions of scripts, and of files that a family was found in, go by value."""
    import cloudpickle

    with _PACKING:  # what goes by value is told to the whole process
        known = cloudpickle.list_registry_pickle_by_value()
        modules = [module for module in places.modules() if module.__name__ not in known]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            return cloudpickle.dumps(value)
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


def _unpack(data: bytes) -> Any:
    import pickle

    return pickle.loads(data)
