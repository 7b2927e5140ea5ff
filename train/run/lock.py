"""A run folder kept to one process at a time.

The lock is the operating system's (flock): it ends with the process, however that ends.  The file `run.lock` says who
has the folder.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .interrupted import in_folder, keeping
from .runfiles import RunError, say

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
        with _quiet_threads(), keeping(lambda: in_folder(path)):
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
    """Let a thread whose disk is full end without a traceback.

    Tensorboard's writer is such a thread; it hands its error to the next call as well.
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
    """Whether a failed call was about the folder; a call on an open file, which names no file, counts as such."""
    return not isinstance(name, str) or path.resolve() in (Path(name).resolve(), *Path(name).resolve().parents)


def _told(path: Path, error: OSError) -> RunError:
    """The error of a run whose folder's disk refused it."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return RunError(f"{path} is no folder")
    known = {errno.ENOSPC: "is full", errno.EROFS: "is read-only"}
    what = known.get(error.errno or 0, "cannot be written")
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
    """Take the operating system's lock of an open file.

    True where this process has it now, False where another one has it, None where there are no such locks here.
    """
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
