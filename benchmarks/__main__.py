"""`make bench`: the product beside the hand-written floor, in turns, in one run."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.floor import run_floor
from benchmarks.product import Figures, process_cpu_s, run_product
from missions.nats_server import NatsServer


def floor_figures(missions: int, warmup: int) -> Figures:
    """Measure the floor on a broker of its own; its CPU is taken over the whole run, warm-up and singles included."""
    with tempfile.TemporaryDirectory() as directory, NatsServer(Path(directory)) as server:
        before = process_cpu_s(server.pid)
        result = run_floor(server.url, missions, warmup, Path(directory))
        broker = (process_cpu_s(server.pid) - before) * 1000 / (missions + warmup)
    return Figures(
        missions_per_s=result.missions_per_s,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        cpu_s_per_1000=result.cpu_s_per_1000 | {"broker": broker},
        peak_rss_mb=result.peak_rss_mb,
    )


def say_round(number: int, product: Figures, floor: Figures) -> None:
    """Print one pair."""
    ratio = product.missions_per_s / floor.missions_per_s
    print(
        f"round {number}: product {product.missions_per_s:7,.0f} missions/s, floor {floor.missions_per_s:7,.0f}"
        f", ratio {ratio:.2f}",
        flush=True,
    )


def summary(pairs: Sequence[tuple[Figures, Figures]]) -> str:
    """Return the medians of all rounds as a table in Markdown."""
    products, floors = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ratio = statistics.median(product.missions_per_s / floor.missions_per_s for product, floor in pairs)
    rows = [("missions/s", "{:,.0f}", "missions_per_s"), ("p50 ms", "{:.1f}", "p50_ms"), ("p99 ms", "{:.1f}", "p99_ms")]
    lines = ["| median of rounds | product | floor |", "|---|---|---|"]
    for title, form, name in rows:
        lines.append(f"| {title} | {form.format(median(products, name))} | {form.format(median(floors, name))} |")
    lines += [
        f"| CPU-s per 1,000: {role} | {cpu(products, role):.3f} | {cpu(floors, role):.3f} |"
        for role in products[0].cpu_s_per_1000
    ]
    lines.append(f"| CPU-s per 1,000: all | {total_cpu(products):.3f} | {total_cpu(floors):.3f} |")
    lines += [
        f"| peak RSS MB: {role} | {rss(products, role):.0f} | {rss(floors, role):.0f} |"
        for role in products[0].peak_rss_mb
    ]
    lines += ["", f"ratio of missions/s to the floor, median of {len(pairs)} rounds: **{ratio:.2f}**"]
    return "\n".join(lines)


def median(figures: Sequence[Figures], name: str) -> float:
    """Return the median of one figure."""
    return float(statistics.median(getattr(figure, name) for figure in figures))


def cpu(figures: Sequence[Figures], role: str) -> float:
    """Return the median CPU seconds per 1,000 missions of a role."""
    return statistics.median(figure.cpu_s_per_1000.get(role, 0.0) for figure in figures)


def total_cpu(figures: Sequence[Figures]) -> float:
    """Return the median CPU seconds per 1,000 missions of everything."""
    return statistics.median(sum(figure.cpu_s_per_1000.values()) for figure in figures)


def rss(figures: Sequence[Figures], role: str) -> float:
    """Return the largest peak RSS of a role."""
    return max(figure.peak_rss_mb.get(role, 0.0) for figure in figures)


def main() -> int:
    """Run the rounds and print what was reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--missions", type=int, default=20_000, help="missions in each measurement (default: 20,000)")
    parser.add_argument("--warmup", type=int, default=2_000, help="missions before it (default: 2,000)")
    parser.add_argument("--rounds", type=int, default=3, help="floor and product in turn (default: 3)")
    parser.add_argument("--output", type=Path, help="write the table to this file as well")
    args = parser.parse_args()
    pairs = []
    for number in range(1, args.rounds + 1):
        floor = floor_figures(args.missions, args.warmup)
        product = run_product(args.missions, args.warmup)
        say_round(number, product, floor)
        pairs.append((product, floor))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, fsync on every write"
    text = f"{args.missions:,} missions a round; {machine}\n\n{summary(pairs)}\n"
    print(f"\n{text}")
    if args.output:
        args.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
