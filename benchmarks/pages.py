"""Pages from data: tables and figures of benchmarks/results/*.json in README.md, docs/ and benchmarks/README.md.

    python benchmarks/pages.py             # or make pages: writes them anew
    python benchmarks/pages.py --check     # or make pages-check: names what is not up to date, exit code 1
    python benchmarks/pages.py --store NAME REPORT.json --command "stepsmith compare ..."     # figures/report.py

A page says where a table or a figure stands by markers, which are comments and show as nothing:

    <!-- table NAME -->

    (NAME is that of a file in benchmarks/results, or of a view of several, figures/views.py)

    <!-- end -->

    .. takes <!-- figure NAME.figure -->.90 [.88, .92]<!-- end --> of ..

What stands between the markers is replaced.  Markers inside code are left alone.  A line of prose must not begin with a
marker: renderers take it for a block of HTML and end the paragraph.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from figures import report, store, views
from figures.wrap import wrapped

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/**/*.md", "benchmarks/README.md")
MARKED = re.compile(
    r"^```.*?^```[^\S\n]*$|`[^`\n]+`|<!-- (?P<kind>table|figure) (?P<name>\S+) -->(?P<old>.*?)<!-- end -->",
    re.MULTILINE | re.DOTALL,
)
"""A fenced block or a span of code, or a marked table or figure."""
MARKER = re.compile(r"<!-- (?:(?:table|figure) \S+|end) -->")
ANY = re.compile(r"<!--\s*(?:table|figure|end)\b.*?-->", re.DOTALL)


def pages(root: Path = ROOT) -> Iterator[Path]:
    """All pages that may hold figures."""
    for pattern in PAGES:
        yield from sorted(root.glob(pattern))


def table(name: str) -> str:
    """The Markdown of a stored table, or of a view of several."""
    return views.VIEWS[name]() if name in views.VIEWS else store.markdown(store.load(name))


def figure(name: str) -> str:
    """A figure, by `FILE.figure`."""
    file, dot, which = name.partition(".")
    if not dot:
        raise ValueError(f"a figure is named NAME.figure, and {name!r} is not")
    return store.figure(store.load(file), which)


def rendered(text: str) -> str:
    """A page with the content of all its markers made anew; ValueError names an unknown or a misplaced one."""

    def made(found: re.Match[str]) -> str:
        kind, name, old = found["kind"], found["name"], found["old"]
        if kind is None:
            return found[0]
        if "<!--" in old:
            raise ValueError(f"the marker of {name!r} has no end before the next marker begins")
        new = f"\n\n{table(name)}\n\n" if kind == "table" else figure(name)
        return f"<!-- {kind} {name} -->{new}<!-- end -->"

    new = wrapped(MARKED.sub(made, text))
    bare = MARKED.sub(lambda found: "" if found["kind"] is None else "@" * (found["kind"] == "figure"), new)
    if left := ANY.search(bare):
        raise ValueError(f"{left[0]!r} is a marker without a partner, or not written as a marker is")
    for line in bare.splitlines():
        if re.match(r"\s*(?:[-*>]\s+|\d+\.\s+)*@", line):
            raise ValueError(f"a line begins with a marker of a figure, which ends the paragraph: {line!r}")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Write the pages anew, or check them; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where a page is out of date")
    parser.add_argument("--store", nargs=2, metavar=("NAME", "REPORT"), help="store a report of `stepsmith compare`")
    parser.add_argument("--command", help="the command that wrote the report")
    parser.add_argument("--other-jobs", choices=("yes", "no"), help="whether other jobs ran beside it")
    args = parser.parse_args(arguments)
    if args.store:
        if not args.command:
            parser.error("--store needs --command")
        beside = None if args.other_jobs is None else args.other_jobs == "yes"
        try:
            print(report.stored(args.store[0], Path(args.store[1]), args.command, beside))
        except (OSError, ValueError, KeyError) as error:
            parser.error(str(error))
        return 0
    check, stale = args.check, []
    for path in pages():
        text, where = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        try:
            new = rendered(text)
        except ValueError as error:
            print(f"{where}: {error}", file=sys.stderr)
            return 2
        if new != text:
            stale.append(where)
            if not check:
                path.write_text(new, encoding="utf-8")
    print("\n".join(f"{'out of date' if check else 'written'}: {where}" for where in stale) or "pages are up to date")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
