"""Controllers from repositories of the Hugging Face Hub, by names that pin their content.

    hf:OWNER/REPO[/FILE][@REVISION]#sha256=HEX
    hf:OWNER/REPO[/FILE]@COMMIT

FILE is `controller.safetensors` where it is left out; REVISION is a branch or a tag (`main` where it is left out), and
COMMIT all 40 digits of a commit, in lower case: a branch or a tag of such a name is refused, since it may move.  HEX is
the SHA-256 digest of the file, which is compared before a byte of it is read as a controller.  A name that pins nothing
is taken only where the file is in the Hub's cache on this machine already, and is what the cache says it is; it is
never fetched: whoever may write to a repository could otherwise change what steps a solver takes.

A file is fetched by `huggingface_hub` (the extra `hub`), which keeps it in its cache; what is there and matches is used
without a connection.  Only safetensors is read, and reading executes nothing (`controllers.file`).
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from ..integrators.core.errors import OptionError, shown
from ..integrators.core.reading import read_bytes

PREFIX = "hf:"
DEFAULT_FILE = "controller.safetensors"
SUFFIX = ".safetensors"
FORM = "hf:OWNER/REPO[/FILE.safetensors][@REVISION]#sha256=HEX"
_NAME = re.compile(
    r"hf:(?P<owner>\w[\w.-]*)/(?P<repo>\w[\w.-]*)(?:/(?P<file>\w[\w./+-]*))?"
    r"(?:@(?P<revision>\w[\w./-]*))?(?:#(?P<pin>.*))?",
    re.ASCII,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"sha256=(?P<hex>[0-9a-fA-F]{64})")


class HubError(ValueError):
    """A controller's name on the Hub pins nothing, its file is another one, or it cannot be fetched."""


@dataclass(frozen=True)
class Place:
    """Where a controller's file is, and what it must be.

    name        as it was given
    repo        "OWNER/REPO";   file: its path in there;   revision: a branch, a tag, or a commit
    sha256      the digest that the name pins, in lower case, or None
    """

    name: str
    repo: str
    file: str
    revision: str
    sha256: str | None

    @property
    def pinned(self) -> bool:
        """Whether the name says what the file holds."""
        return self.sha256 is not None or _COMMIT.fullmatch(self.revision) is not None


def is_hub(name: Any) -> TypeGuard[str]:
    """Whether a name says that a controller is on the Hub."""
    return isinstance(name, str) and name.startswith(PREFIX)


def place(name: str) -> Place:
    """What a name says; OptionError where it is none."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise OptionError(f"a controller on the Hub is named {FORM}, got {shown(name, 200)}")
    file, pin = found["file"] or DEFAULT_FILE, found["pin"]
    if not file.endswith(SUFFIX) or any(part in ("", ".", "..") for part in file.split("/")):
        raise OptionError(f"{shown(name, 200)}: the file must be a {SUFFIX} of the repository, got {shown(file)}")
    revision = found["revision"] or "main"
    if any(part in ("", ".", "..") for part in revision.split("/")):
        raise OptionError(f"{shown(name, 200)}: @ must be followed by a branch, tag or commit, got {shown(revision)}")
    digest = None if pin is None else _DIGEST.fullmatch(pin)
    if pin is not None and digest is None:
        raise OptionError(f"{shown(name, 200)}: what follows # must be sha256= and 64 digits, got {shown(pin)}")
    return Place(
        name, f"{found['owner']}/{found['repo']}", file, revision,
        None if digest is None else digest["hex"].lower(),
    )  # fmt: skip


def bytes_of(name_or_path: str | os.PathLike[str], what: str, most: int) -> bytes:
    """Content of a file, or of a file on the Hub, of at most `most` bytes; what: the kind of file, for errors.

    Raises as `integrators.core.reading.read_bytes` does, and HubError as `read` does.
    """
    if is_hub(name_or_path):
        return read(place(name_or_path), what, most)
    return read_bytes(name_or_path, what, most)


def read(wanted: Place, what: str, most: int) -> bytes:
    """Content of a file of the Hub, from the cache or fetched, compared with what its name pins.

    HubError where the name pins nothing and the cache does not have the file, where the file is another one, where
    there is none, and where the Hub cannot be reached; ModuleNotFoundError without `huggingface_hub`.
    """
    hub = _library()
    held = _held(hub, wanted)
    if held is not None:
        data = read_bytes(held, what, most)
        if wanted.sha256 is not None:
            if _digest_of(data) == wanted.sha256:
                return data
        elif wanted.pinned:
            return _of_commit(wanted, held, data)
        elif _whole(held, data):
            return data
    if not wanted.pinned:
        raise HubError(
            f"{wanted.name}: nothing says what this file must hold, and it is not fetched: add #sha256= and the 64 "
            "digits of its SHA-256 (its repository shows them; sha256sum FILE prints them), or @ and the 40 digits of "
            "a commit"
        )
    path = _fetched(hub, wanted)
    data = read_bytes(path, what, most)
    if wanted.sha256 is None:
        return _of_commit(wanted, path, data)
    if (found := _digest_of(data)) != wanted.sha256:
        raise HubError(
            f"{wanted.name}: the file's SHA-256 is {found}, and the name says {wanted.sha256}: it is another file than "
            "the one that was meant, and is not loaded"
        )
    return data


def _held(hub: Any, wanted: Place) -> str | None:
    """The path of the file in the cache, or None; HubError for a name that no repository can have."""
    try:
        held = hub.try_to_load_from_cache(wanted.repo, wanted.file, revision=wanted.revision)
    except ValueError as error:  # the library's rules for names
        raise HubError(f"{wanted.name}: {shown(str(error), 200)}") from error
    return held if isinstance(held, str) else None


def _of_commit(wanted: Place, path: str, data: bytes) -> bytes:
    """`data` of the file at `path` in the cache, where that is the file of the commit that the name says.

    HubError where the Hub, or the cache, takes the 40 digits for a branch or a tag of another commit, which it keeps in
    the folder of that commit; and for a file that changed since it was fetched.
    """
    parts = ("snapshots", wanted.revision, *wanted.file.split("/"))
    if Path(path).parts[-len(parts) :] != parts:
        raise HubError(
            f"{wanted.name}: {wanted.revision} names a branch or a tag of {wanted.repo}, which may move, and not a "
            "commit: it pins nothing, and is not loaded"
        )
    if Path(path).is_symlink() and not _whole(path, data):  # without links the cache says nothing of the content
        raise HubError(
            f"{wanted.name}: the file in the cache is not what the cache calls it, so that it changed since it was "
            f"fetched: remove {path}, or add #sha256= and the 64 digits of its SHA-256"
        )
    return data


def _fetched(hub: Any, wanted: Place) -> str:
    """The path of the file in the cache, fetched where it is not there or is another one."""
    try:
        return str(hub.hf_hub_download(wanted.repo, wanted.file, revision=wanted.revision))
    except Exception as error:  # of the library, of its HTTP library, of the disk
        kinds = {kind.__name__ for kind in type(error).__mro__}
        where = f"{wanted.repo} on the Hub"
        if "LocalEntryNotFoundError" in kinds:
            why = f"the Hub cannot be reached, and the cache of this machine does not have {wanted.file}"
        elif "RepositoryNotFoundError" in kinds:
            why = f"there is no repository {where}, or it is private (log in with `hf auth login`)"
        elif "RevisionNotFoundError" in kinds:
            why = f"{where} has no revision {shown(wanted.revision)}"
        elif "EntryNotFoundError" in kinds:
            why = f"{where} has no file {shown(wanted.file)} at revision {shown(wanted.revision)}"
        else:
            why = f"it cannot be fetched ({type(error).__name__}: {shown(str(error), 200)})"
        raise HubError(f"{wanted.name}: {why}") from error


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _whole(held: str, data: bytes) -> bool:
    """Whether a file of the cache is what the cache calls it: a file's blob has the name of its SHA-256, or of its
    digest by git.  That blob may be a link in turn, to what several repositories share.
    """
    blob = Path(os.readlink(held) if os.path.islink(held) else held).name
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return blob in (_digest_of(data), git)


def _library() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "controllers on the Hugging Face Hub need huggingface_hub: pip install 'stepsmith[hub]'",
            name="huggingface_hub",
        ) from None
    return huggingface_hub
