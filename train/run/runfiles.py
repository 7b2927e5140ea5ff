"""Files of a run folder that outlive what interrupts a run: put in place whole, read with errors that name them, one
writer at a time.

A file is written aside, flushed to the disk and renamed, so that a kill or a full disk leaves what stood there.  `held`
keeps a folder to one process: the lock is the operating system's (flock) and ends with the process, however that ends;
the file `run.lock` says who has it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

try:
    import fcntl
except ImportError:  # not a POSIX system: the lock file alone says who has the folder
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"
#: what of a failed system call concerns the folder rather than the program
_DISK = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "EFBIG")
    if hasattr(errno, name)
}


class RunError(ValueError):
    """A run folder cannot be used as it is; the message names the file, and what to do."""


def say(text: str) -> None:
    """A line on standard error about something that did not go the usual way."""
    print(f"stepsmith: {text}", file=sys.stderr, flush=True)


def put(path: Path, write: Callable[[BinaryIO], Any], keep: Path | None = None) -> None:
    """Let `write` fill a file aside, flush it to the disk and put it in the place of `path`, whole or not at all.

    keep: where the file that stood there goes.
    """
    aside = path.with_name(path.name + ".tmp")
    try:
        with aside.open("wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    _flush_folder(path.parent)


def _flush_folder(path: Path) -> None:
    """The rename itself onto the disk, where the system can."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def plain(data: Any) -> Any:
    """Data as JSON holds it: NumPy's numbers as Python's, null for what is no finite number, text for other keys."""
    if isinstance(data, dict):
        return {str(k): plain(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(v) for v in data]
    if isinstance(data, (np.generic, np.ndarray)):
        return plain(data.tolist())
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(plain(data), indent=1, allow_nan=False) + "\n"
    put(path, lambda f: f.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; RunError that names the file where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        told = str(error).splitlines()[0][:120]
        raise RunError(f"{path} is damaged or cut short, it is no JSON: {told}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(data, dict):
        raise RunError(f"{path} is damaged: it holds no JSON object")
    return data


def read_log(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Rows of a log of JSON lines, and their length in bytes: a last line that is cut short does not count.

    RunError that names file and line where another one is no JSON object.  Numbers that older versions wrote as NaN are
    None.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    lines = data.splitlines(keepends=True)
    rows: list[dict[str, Any]] = []
    size = 0
    for i, line in enumerate(lines):
        try:
            row = json.loads(line, parse_constant=lambda _: None) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            if i == len(lines) - 1:
                break
            raise RunError(f"{path}, line {i + 1}: damaged, it is no JSON object; mend or remove the line to go on")
        rows.append(row)
        size += len(line)
    return rows, size


def append_log(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a log of JSON lines, on the disk before this returns; all of it or nothing."""
    line = (json.dumps(plain(row), allow_nan=False) + "\n").encode()
    with path.open("ab+") as f:
        size = f.tell()
        if size:
            f.seek(-1, os.SEEK_END)
            if f.read() != b"\n":  # what an interruption cut short
                size = read_log(path)[1]
                f.truncate(size)
        try:
            f.write(line)
            f.flush()
            os.fsync(f.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                f.truncate(size)
            raise


@contextlib.contextmanager
def held(path: Path, tidy: tuple[str, ...] = ()) -> Iterator[None]:
    """Make the folder, keep it to this process, and turn a full or read-only disk into a RunError.

    tidy: files that are taken away again where the folder was new and an error came before anything was logged or
    saved, so that a run that was refused late blocks no other.  RunError where another process has the folder.
    """
    fresh = not (path / "config.json").exists()
    made = [p for p in (path, *path.parents) if not p.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _Lock(path)
    except OSError as error:
        raise _told(path, error) from error
    try:
        with _quiet_threads():
            yield
    except Exception as error:
        if fresh and not any((path / name).exists() for name in ("log.jsonl", "checkpoint.npz", "checkpoint.pt")):
            for name in tidy:
                with contextlib.suppress(OSError):
                    (path / name).unlink()
        if isinstance(error, OSError) and error.errno in _DISK and _inside(path, error.filename):
            raise _told(path, error) from error
        raise
    finally:
        lock.release()
        with contextlib.suppress(OSError):  # what is empty and was not there before
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def _quiet_threads() -> Iterator[None]:
    """No traceback of a thread whose disk is full: tensorboard's writer is one, and hands its error to the next call as
    well.
    """
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in _DISK):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        if threading.excepthook is hook:
            threading.excepthook = before


def _inside(path: Path, name: Any) -> bool:
    """Whether a failed call was about the folder; one on an open file does not say."""
    return not isinstance(name, str) or path.resolve() in (Path(name).resolve(), *Path(name).resolve().parents)


def _told(path: Path, error: OSError) -> RunError:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return RunError(f"{path} is no folder")
    what = (
        "is full"
        if error.errno == errno.ENOSPC
        else "is read-only"
        if error.errno == errno.EROFS
        else "cannot be written"
    )
    then = "what was saved before is whole: mend that, and resume the run if it had begun"
    return RunError(f"{path}: the disk {what} ({error.strerror}); {then}")


class _Lock:
    """The folder's lock, had from construction to `release`; RunError names the process that has it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        while True:
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                kept = _flock(self.fd)
                owner = _owner(os.pread(self.fd, 4096, 0) if hasattr(os, "pread") else os.read(self.fd, 4096))
                if kept is False or (owner and not (_ended(owner) if kept is None else _here(owner))):
                    raise RunError(_busy(folder, owner, kept))
                # the last one may have taken the file away between the two calls
                if kept is None or (self.path.exists() and os.path.samestat(os.fstat(self.fd), self.path.stat())):
                    break
            except BaseException:
                os.close(self.fd)
                raise
            os.close(self.fd)
        if owner:
            say(f"{folder}: process {owner.get('pid')}, which had it, has ended without a word; taken over")
        text = json.dumps(
            {"pid": os.getpid(), "host": socket.gethostname(), "boot": _boot(), "since": time.strftime("%F %T")}
        )
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        os.write(self.fd, text.encode())

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self.fd)


def _flock(fd: int) -> bool | None:
    """True: had now; False: another process has it; None: there are no such locks here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES) else None
    return True


def _owner(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _boot() -> str:
    """What tells one start of a machine from another; empty where nothing does."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _here(owner: dict[str, Any]) -> bool:
    """Whether the owner ran on this machine, whose locks we see."""
    return owner.get("host") == socket.gethostname() or bool(_boot() and owner.get("boot") == _boot())


def _ended(owner: dict[str, Any]) -> bool:
    """Whether the owner ran here and is gone; for file systems without locks."""
    if os.name != "posix" or not _here(owner) or not isinstance(owner.get("pid"), int):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _busy(folder: Path, owner: dict[str, Any], kept: bool | None) -> str:
    who = (
        f"process {owner.get('pid')} on {owner.get('host')} (since {owner.get('since')})"
        if owner
        else "another process"
    )
    sure = "" if kept is False else f"; if that has ended, remove {folder / LOCK}"
    return f"{folder} is in use by {who}: wait for it, stop it, or choose another --out{sure}"


def wait_free(folder: Path, seconds: float) -> None:
    """Wait until no process has a folder; RunError that names the one that has it after `seconds`."""
    end = time.monotonic() + seconds
    while folder.is_dir():
        try:
            _Lock(folder).release()
        except RunError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return
