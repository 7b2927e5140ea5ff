"""A function over parts by an executor: order, lost parts, exceptions, interrupts."""

import hashlib
import os
import pickle
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from stepsmith.integrators.engine import spread as module
from stepsmith.integrators.engine.cores import available_cores
from stepsmith.integrators.engine.spread import RETRIES, PartLost, Shared, spread


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2) as executor:
        yield executor


def later_is_earlier(shared, part):
    time.sleep(0.05 * (3 - part))
    return shared * part


def process(shared, part):
    return os.getpid(), available_cores()


def dies(folder, part):
    """Kills its worker as often as the part says; counts how often it was tried."""
    number, times = part
    tries = len(list(Path(folder).glob(f"{number}-*")))
    (Path(folder) / f"{number}-{tries}").touch()
    if tries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid()


def refuses(shared, part):
    if part == 2:
        raise FileNotFoundError(2, "no such thing", "x.toml")
    return part


@pytest.mark.parametrize("kind", [None, "processes", "threads"])
def test_results_stand_in_the_order_of_the_parts(pool, kind):
    seen = {}
    with ThreadPoolExecutor(3) as threads:
        executor = {"processes": pool, "threads": threads}.get(kind)
        found = spread(later_is_earlier, [0, 1, 2, 3], executor, shared=10, taken=seen.__setitem__)
    assert found == [0, 10, 20, 30] and seen == dict(enumerate(found))


def test_parts_are_solved_by_others_on_one_core_each(pool):
    found = spread(process, range(4), pool)
    assert os.getpid() not in {pid for pid, _ in found} and {cores for _, cores in found} == {1}
    assert spread(process, [0], None) == [(os.getpid(), available_cores())]


def test_a_lambda_over_no_parts_and_some(pool):
    assert spread(lambda shared, part: part, [], pool) == []
    offset = 3
    assert spread(lambda shared, part: part + offset, [1, 2], pool) == [4, 5]


def test_what_is_shared_is_packed_once(pool, monkeypatch):
    packed, real = [], module._pack
    monkeypatch.setattr(module, "_pack", lambda value: packed.append(value) or real(value))
    shared = Shared([1, 2, 3])
    for _ in range(2):
        assert spread(lambda held, i: held[i], [0, 2], pool, shared=shared) == [1, 3]
    assert packed.count([1, 2, 3]) == 1


@pytest.mark.parametrize("times", [1, RETRIES])
def test_a_part_whose_worker_is_killed_is_taken_up_again(tmp_path, times):
    with ProcessPoolExecutor(2) as executor:
        found = spread(dies, [(0, 0), (1, times), (2, 0)], executor, shared=str(tmp_path))
        assert [number for number, _ in found] == [0, 1, 2]
        # the caller's own pool is broken now: later calls take the one in its place
        again = spread(dies, [(3, 0), (4, 1)], executor, shared=str(tmp_path))
        assert [number for number, _ in again] == [3, 4]
    assert len(list(tmp_path.glob("1-*"))) == times + 1


def test_a_part_that_always_kills_its_worker_is_named(tmp_path):
    with ProcessPoolExecutor(2) as executor, pytest.raises(PartLost) as caught:
        spread(
            dies, [(0, 0), (1, 0), (2, 99)], executor, shared=str(tmp_path), what="run", named=lambda i: f"seed {i}"
        )
    assert str(caught.value).startswith(f"run 3 of 3 (seed 2) was lost {RETRIES + 1} times: the worker that had it")
    assert len(list(tmp_path.glob("2-*"))) == RETRIES + 1


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_an_exception_is_the_callers_and_names_the_part(pool, kind):
    with ThreadPoolExecutor(2) as threads, pytest.raises(FileNotFoundError) as caught:
        spread(refuses, [1, 2, 3], pool if kind == "processes" else threads, what="law", named=lambda i: "pi34")
    assert caught.value.filename == "x.toml" and caught.value.__notes__ == ["raised in law 2 of 3 (pi34)"]


def test_what_cannot_be_pickled_is_said(pool):
    with pytest.raises(RuntimeError, match="the result, a lock, cannot be pickled"):
        spread(lambda shared, part: threading.Lock(), [1], pool)

    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__("odd thing")

    def odd(shared, part):
        raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Odd: odd thing"):
        spread(odd, [1], pool)


class Held(Executor):
    """Runs the first part and holds the others back, as a busy executor does."""

    def __init__(self):
        self.futures = []

    def submit(self, call, /, *args):
        future = Future()
        self.futures.append(future)
        if len(self.futures) == 1:
            future.set_result(call(*args))
        return future


def test_an_interrupt_and_an_error_take_back_what_has_not_begun():
    def interrupted(i, result):
        raise KeyboardInterrupt

    for error, function, taken in (
        (KeyboardInterrupt, later_is_earlier, interrupted),
        (FileNotFoundError, lambda shared, part: refuses(shared, 2), None),
    ):
        executor = Held()
        with pytest.raises(error):
            spread(function, [3, 2, 1], executor, shared=1, taken=taken)
        assert [future.cancelled() for future in executor.futures] == [False, True, True]


def test_errors_that_say_that_a_worker_died():
    class WorkerCrashedError(Exception):
        __module__ = "ray.exceptions"

    class Flaky(Held):
        def submit(self, call, /, *args):
            future = Future()
            self.futures.append(future)
            if len(self.futures) == 1:
                future.set_exception(WorkerCrashedError("gone"))
            else:
                future.set_result(call(*args))
            return future

    executor = Flaky()
    assert spread(later_is_earlier, [3], executor, shared=2) == [6] and len(executor.futures) == 2
    with pytest.raises(PartLost, match="was lost 1 times.*WorkerCrashedError: 'gone'"):
        spread(later_is_earlier, [3], Flaky(), shared=2, retries=0)


def test_an_executor_that_is_closed_says_so():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        spread(later_is_earlier, [3], executor, shared=2)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_that_is_shut_down_meanwhile_says_so(kind):
    """`concurrent.futures.wait` would wait for ever for the parts that the shutdown cancels."""
    executor, found = kind(1), []

    def shared_out():
        try:
            spread(later_is_earlier, [2] * 40, executor, shared=1, taken=first, what="law")
        except RuntimeError as error:
            found.append(str(error))

    def first(i, result):
        executor.shutdown(wait=False, cancel_futures=True)

    thread = threading.Thread(target=shared_out, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert len(found) == 1 and "of 40 was cancelled: the executor was shut down" in found[0]


class Counted:
    """Takes its time to be unpacked, and counts how often that was done."""

    times = 0

    def __reduce__(self):
        return Counted.unpacked, ()

    @staticmethod
    def unpacked():
        time.sleep(0.05)
        Counted.times += 1
        return Counted()


def test_what_is_shared_is_unpacked_once_by_the_threads_of_a_worker(monkeypatch):
    """Dask's workers run several parts in threads."""
    monkeypatch.setattr(Counted, "times", 0)
    packed = hashlib.sha256(b"of this test").hexdigest(), pickle.dumps(Counted())
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda k: module._unpacked(*packed), range(4)))
    assert Counted.times == 1 and all(value is found[0] for value in found)


def test_threads_pack_at_once_and_a_callers_registration_stays(tmp_path, monkeypatch):
    import cloudpickle

    from stepsmith.integrators.problems import places

    (tmp_path / "own.py").write_text("def twice(shared, part):\n    return 2 * part\n")
    own = places.file_module(str(tmp_path / "own.py"))
    with ThreadPoolExecutor(8) as threads:
        packed = list(threads.map(module._pack, [own.twice] * 400))
    assert all(b"own.twice" not in data for data in packed) and not cloudpickle.list_registry_pickle_by_value()
    cloudpickle.register_pickle_by_value(own)
    try:
        module._pack(own.twice)
        assert cloudpickle.list_registry_pickle_by_value() == {own.__name__}
    finally:
        cloudpickle.unregister_pickle_by_value(own)
