"""Controllers that come with the package: `<name>.safetensors`, each with a card `<name>.md`."""

from __future__ import annotations

from importlib.resources import files

SUFFIX = ".safetensors"


def names() -> list[str]:
    """Names of the controllers in the zoo, sorted."""
    return sorted(f.name[: -len(SUFFIX)] for f in files(__package__).iterdir() if f.name.endswith(SUFFIX))


def read(name: str) -> bytes:
    """Content of a controller's file; FileNotFoundError where there is none (`names` says which there are)."""
    return files(__package__).joinpath(name + SUFFIX).read_bytes()


def card(name: str) -> str:
    """Text of a controller's card; FileNotFoundError where there is none."""
    return files(__package__).joinpath(name + ".md").read_text(encoding="utf-8")
