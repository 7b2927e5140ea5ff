"""Hooks of the documentation site (mkdocs.yml): pages that stand outside docs/, and the package without its links.

The figures, the changelog and the guide for contributors are read where they stand in the repository.  Links between
them and the pages are relative paths in the repository, as GitHub needs them; here each becomes the path in the site.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File

LOG = get_plugin_logger(__name__)

ROOT = Path(__file__).resolve().parents[2]
BROUGHT = {
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Files of the repository that become pages of the site, by their names there."""
PLACES = {"README.md": "index.md", "LICENSE": "index.md", **BROUGHT}
"""Where a link to a file outside docs/ leads in the site."""
NESTED = re.compile(r"^  - ", re.MULTILINE)
"""A list within a list: GitHub takes two spaces for it, and MkDocs four."""
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Give mkdocstrings a copy of the package in which the links to the rooms are folders: it follows no links."""
    config.extra["copied"] = tempfile.mkdtemp(prefix="stepsmith-docs-")
    leave = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.npz", "*.json", "*.csv")
    shutil.copytree(ROOT / "stepsmith", Path(config.extra["copied"]) / "stepsmith", ignore=leave)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [config.extra["copied"]]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand elsewhere in the repository."""
    for source, name in BROUGHT.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn relative paths in the repository into relative paths in the site, and indent lists within lists."""
    name = page.file.src_uri
    homes = {site: source for source, site in BROUGHT.items()}
    home = posixpath.dirname(homes.get(name, f"docs/{name}"))

    def in_site(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        if ":" in target or target.startswith("/"):
            return link[0]
        path = posixpath.normpath(posixpath.join(home, target))
        place = PLACES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if place is None:
            return link[0]  # strict mode names a link that leads nowhere
        return f"]({posixpath.relpath(place, posixpath.dirname(name) or '.')}{anchor})"

    return LINK.sub(in_site, NESTED.sub("    - ", markdown))


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Turn the links of notebooks, which stay paths of files otherwise, into addresses of the site."""
    name = page.file.src_uri
    if not name.endswith(".ipynb"):
        return html
    home = posixpath.dirname(f"docs/{name}")

    def address(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(home, link[1]))
        target = files.get_file_from_path(PLACES.get(path, path.removeprefix("docs/")))
        if target is None:
            LOG.warning("%s: the link %s leads nowhere", name, link[1])
            return link[0]
        return f'href="{target.url_relative_to(page.file)}{link[2] or ""}"'

    return re.sub(r'href="([^":#]+\.(?:md|ipynb))(#[^"]*)?"', address, html)


def on_post_build(config: Any) -> None:
    """Remove the copy of the package."""
    shutil.rmtree(config.extra["copied"], ignore_errors=True)
