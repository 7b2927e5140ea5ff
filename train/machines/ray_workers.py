"""Ray's workers as an executor: a call is a Ray task, its future a `concurrent.futures.Future`.

Moritz et al. 2018, "Ray: a distributed framework for emerging AI applications", OSDI.  Ray itself would run a task
whose worker died again; here that is left to `integrators.engine.spread`, which does it for every kind of workers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from typing import Any

from ...integrators.core import options
from ...integrators.core.errors import OptionError

#: the address of the cluster that this machine is a part of
AUTO = "ray://auto"


class RayExecutor(Executor):
    """Calls as tasks of one core each on the cluster that `ray.init` has reached; cpus: cores of a task."""

    def __init__(self, cpus: float = 1.0) -> None:
        self._ray = imported()
        self._run = self._ray.remote(num_cpus=cpus, max_retries=0)(_called)
        self._max_workers = max(int(self._ray.cluster_resources().get("CPU", 1) / cpus), 1)
        self._waiting: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future of fn(*args, **kwargs); `cancel()` takes the task back if it has not begun."""
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            task = self._run.remote(fn, args, kwargs)
            future: Future[Any] = Future()
            self._waiting.add(future)
        future.add_done_callback(lambda done: self._forget(done, task))
        task.future().add_done_callback(lambda answer: _handed_on(answer, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; the cluster stays as it is."""
        with self._lock:
            self._closed, waiting = True, list(self._waiting)
        for future in waiting:
            if cancel_futures:
                future.cancel()
            elif wait:
                with contextlib.suppress(CancelledError):  # taken back meanwhile
                    future.exception()

    def _forget(self, future: Future[Any], task: Any) -> None:
        with self._lock:
            self._waiting.discard(future)
        if future.cancelled():
            self._ray.cancel(task, force=False)


def _called(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)


def _handed_on(answer: Any, future: Future[Any]) -> None:
    """Give a task's answer, or its error, to the future that the caller has."""
    if future.cancelled() or not future.set_running_or_notify_cancel():
        return
    if (error := answer.exception()) is not None:
        future.set_exception(getattr(error, "cause", None) if _raised_there(error) else error)
    else:
        future.set_result(answer.result())


def _raised_there(error: BaseException) -> bool:
    """Whether the call itself raised: Ray's error then holds what it raised."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "RayTaskError" in kinds and isinstance(getattr(error, "cause", None), BaseException)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[RayExecutor]:
    """Workers of the cluster at `address` ("ray://HOST:PORT", `AUTO`), or of one of this machine's cores that begins
    and ends with the block (None); where Ray is connected already, of that cluster.

    Raises OptionError where it cannot be reached, ModuleNotFoundError without Ray.
    """
    ray = imported()
    mine = not ray.is_initialized()
    if mine:
        if address is None:
            where: dict[str, Any] = {"address": "local", "include_dashboard": False}
        else:
            where = {"address": "auto" if address == AUTO else address}
        try:
            ray.init(**where, log_to_driver=False, logging_level="error")
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            raise OptionError(
                f"the Ray cluster {address or 'of this machine'} cannot be reached: {options.shown(str(error), 300)}"
            ) from error
    try:
        yield RayExecutor()
    finally:
        if mine:
            ray.shutdown()


def imported() -> Any:
    """The module `ray`; ModuleNotFoundError with the command that installs it."""
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this needs Ray: pip install 'stepsmith[cluster]'", name="ray") from None
    return ray
