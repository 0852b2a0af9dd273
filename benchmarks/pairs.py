"""The product beside the hand-written floor, in turns, in one run."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.floor import run_floor
from benchmarks.product import Figures, process_cpu_s, run_product
from missions.nats_server import NatsServer


def figures(missions: int, warmup: int, rounds: int) -> Iterator[str]:
    """Measure so many pairs; yield each, and the medians as a table."""
    pairs = []
    for number in range(1, rounds + 1):
        floor = floor_figures(missions, warmup)
        product = run_product(missions, warmup)
        pairs.append((product, floor))
        yield said(number, product, floor)
    yield f"\n{missions:,} missions a round, fsync on every write\n\n{summary(pairs)}"


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


def said(number: int, product: Figures, floor: Figures) -> str:
    """Return one pair in a line."""
    ratio = product.missions_per_s / floor.missions_per_s
    return (
        f"round {number}: product {product.missions_per_s:7,.0f} missions/s, floor {floor.missions_per_s:7,.0f}"
        f", ratio {ratio:.2f}"
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
