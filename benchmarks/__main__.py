"""`make bench`: the product beside a hand-written floor, the journal, the whiteboard's answers, leaks; one report."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from benchmarks import journal, leaks, pairs, questions

Part = Callable[[argparse.Namespace], Iterator[str]]


def whiteboard(args: argparse.Namespace) -> Iterator[str]:
    """Measure the journal and the answers over one board."""
    with tempfile.TemporaryDirectory() as aside:
        folder = args.folder or Path(aside)
        yield from journal.figures(folder, args.board, args.ingest)
        yield from questions.figures(folder, args)


PARTS: dict[str, tuple[str, Part]] = {
    "pairs": ("The product beside the floor", lambda args: pairs.figures(args.missions, args.warmup, args.rounds)),
    "whiteboard": ("The journal and the whiteboard", whiteboard),
    "leaks": ("What missions leave behind", lambda args: leaks.figures(args.leaks, args.leaks // 20)),
}


def parser() -> argparse.ArgumentParser:
    """Return what may be chosen."""
    given = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    given.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    given.add_argument("--missions", type=int, default=5_000, help="in each round of the pairs (default: 5,000)")
    given.add_argument("--warmup", type=int, default=1_000, help="missions before it (default: 1,000)")
    given.add_argument("--rounds", type=int, default=2, help="floor and product in turn (default: 2)")
    given.add_argument("--ingest", type=int, default=10_000, help="missions to ingest (default: 10,000)")
    given.add_argument("--leaks", type=int, default=2_000, help="missions in loop and in threads (default: 2,000)")
    given.add_argument("--output", type=Path, help="write the report to this file as well")
    questions.add_arguments(given)
    return given


def report(args: argparse.Namespace) -> Iterator[str]:
    """Yield the report as it is measured."""
    yield f"# Figures\n\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    for name in args.parts or PARTS:
        title, part = PARTS[name]
        yield f"\n## {title}\n\nload average {os.getloadavg()[0]:.1f} when it began\n"
        yield from part(args)


def main() -> int:
    """Measure and print."""
    given = parser()
    args = given.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        given.error(f"no part {', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    lines = []
    for line in report(args):
        print(line, flush=True)
        lines.append(line)
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
