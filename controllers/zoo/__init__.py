"""Controllers that come with the package: `<name>.safetensors`, each with a card `<name>.md`; strengths of regularisers
are `<name>.strength.safetensors` and `<name>.strength.md`."""

from __future__ import annotations

from importlib.resources import files

SUFFIX = ".safetensors"


#: strengths of regularisers end in this before the suffix
STRENGTH = ".strength"


def _files() -> list[str]:
    return sorted(f.name[: -len(SUFFIX)] for f in files(__package__).iterdir() if f.name.endswith(SUFFIX))


def names() -> list[str]:
    """Names of the step-size controllers in the zoo, sorted."""
    return [name for name in _files() if not name.endswith(STRENGTH)]


def strengths() -> list[str]:
    """Names of the strengths of regularisers in the zoo, sorted; their files and cards end in `.strength` and so on."""
    return [name[: -len(STRENGTH)] for name in _files() if name.endswith(STRENGTH)]


def read(name: str) -> bytes:
    """Content of a controller's file; FileNotFoundError where there is none (`names` says which there are)."""
    return files(__package__).joinpath(name + SUFFIX).read_bytes()


def card(name: str) -> str:
    """Text of a controller's card; FileNotFoundError where there is none."""
    return files(__package__).joinpath(name + ".md").read_text(encoding="utf-8")
