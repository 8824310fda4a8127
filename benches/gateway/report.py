"""What a reader sees of the benchmarks: tables, a plot, and which bars are held.

A bar is a ratio that the project has set itself. It is judged by what was measured last, by whichever command; what was
not measured is said to be missing.
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

# Below this the proxy was waiting for the load, and throughput says little about it.
BUSY_MIN = 0.75


def summarise(kept, order):
    """One row of medians per variant."""
    rows = []
    for variant in order:
        slices = kept[variant]
        row = {"variant": variant.server.name, "slices": len(slices)}
        if slices:
            for field in ("rps", "cpu_us", "p50_us", "p99_us", "busy"):
                row[field] = statistics.median(getattr(taken, field) for taken, _ in slices)
            ratios = sorted(ratio for _, ratio in slices)
            row["ratio"] = statistics.median(ratios)
            row["ratio_low"], row["ratio_high"] = ratios[0], ratios[-1]
        rows.append(row)
    return rows


def table(rows):
    """The rows as a Markdown table."""
    lines = [
        "| variant | × nginx plain | range | req/s | CPU µs | p50 ms | p99 ms | core | slices |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if not row["slices"]:
            lines.append(f"| {row['variant']} | no clean slice | | | | | | | 0 |")
            continue
        lines.append(
            f"| {row['variant']} | {row['ratio']:.2f} | {row['ratio_low']:.2f}–{row['ratio_high']:.2f} | {row['rps']:.0f} "
            f"| {row['cpu_us']:.1f} | {row['p50_us'] / 1000:.2f} | {row['p99_us'] / 1000:.2f} | {row['busy']:.0%} | {row['slices']} |"
        )
    return "\n".join(lines)


def remarks(rows, dirty):
    """What a reader has to know before believing the table."""
    said = []
    if dirty:
        said.append(f"{dirty} slices were thrown away because others used the processor.")
    idle = [row["variant"] for row in rows if row["slices"] and row["busy"] < BUSY_MIN]
    if idle:
        said.append(
            f"The proxy was not the bottleneck (its core was less than {BUSY_MIN:.0%} busy) for {', '.join(idle)}: "
            "its throughput is the load's; compare CPU µs."
        )
    return said


def plot(title, rows):
    """Throughput beside nginx plain as an SVG: a bar for each variant, a whisker from its smallest to its largest ratio."""
    rows = [row for row in rows if row["slices"]]
    left, width, line, top = 230, 420, 26, 44
    longest = max(row["ratio_high"] for row in rows)
    height = top + line * len(rows) + 12

    def x(ratio):
        return left + width * ratio / longest

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{height}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
    ]
    for number, row in enumerate(rows):
        y = top + line * number
        colour = "#2563eb" if row["variant"].startswith("gateway") else "#9ca3af"
        low, mid, high = x(row["ratio_low"]), x(row["ratio"]), x(row["ratio_high"])
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(row["variant"])}</text>',
            f'<rect x="{left}" y="{y + 3}" width="{mid - left:.1f}" height="15" fill="{colour}"/>',
            f'<path d="M{low:.1f} {y + 10.5}H{high:.1f}" stroke="#111" fill="none"/>',
            f'<text x="{high + 6:.1f}" y="{y + 15}">{row["ratio"]:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


@dataclass(frozen=True)
class Bar:
    """A ratio to reach: at least, or at most."""

    what: str
    least: float | None = None
    most: float | None = None

    def judge(self, value):
        """A row of the table of bars."""
        wanted = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        if value is None:
            return f"| {self.what} | {wanted} | not measured | – |"
        held = value >= self.least if self.least is not None else value <= self.most
        return f"| {self.what} | {wanted} | {value:.3g} | {'pass' if held else 'falls short'} |"


class Results:
    """What the commands left in `target/bench/`."""

    def __init__(self, directory):
        self.directory = Path(directory)

    def read(self, name):
        """One command's report, or nothing."""
        path = self.directory / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def throughput(self, ours, theirs, field="ratio"):
        """Of the first connection count: our figure divided by theirs."""
        rows = {row["variant"]: row for row in self.read("throughput").get("variants", []) if row["slices"]}
        return rows[ours][field] / rows[theirs][field] if ours in rows and theirs in rows else None

    def instructions(self, ours, theirs="plain pingora"):
        """Instructions of one case divided by those of another."""
        rows = {row["case"]: row["instructions"] for row in self.read("instructions").get("cases", [])}
        return rows[ours] / rows[theirs] if ours in rows and theirs in rows else None

    def figure(self, name, *path):
        """A number somewhere in a report."""
        found = self.read(name)
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found


def bars(directory):
    """Every bar with what was measured, as a Markdown table."""
    results = Results(directory)
    strict, mirror = "gateway strict", "gateway mirror"
    denied = [results.instructions(f"{strict}, {kind}", f"{strict}, cached token") for kind in ("no token", "revoked token")]
    rows = [
        Bar("strict × nginx + lua (JWT, Redis)", least=1.9).judge(results.throughput(strict, "nginx + lua")),
        Bar("strict × Express", least=25).judge(results.throughput(strict, "Express")),
        Bar("strict, instructions × plain pingora", most=1.18).judge(results.instructions(f"{strict}, cached token")),
        Bar("mirror, instructions × plain pingora", most=1.08).judge(results.instructions(f"{mirror}, cached token")),
        Bar("mirror × HAProxy HS256", least=1.2).judge(results.throughput(mirror, "HAProxy HS256")),
        Bar("mirror × HAProxy RS256", least=2.0).judge(results.throughput(mirror, "HAProxy RS256")),
        Bar("mirror × HAProxy ES256", least=3.5).judge(results.throughput(mirror, "HAProxy ES256")),
        Bar("access log on, CPU × off", most=1.03).judge(results.throughput(f"{strict}, access log", strict, "cpu_us")),
        Bar("denied request, instructions × allowed", most=1.0).judge(max(denied) if None not in denied else None),
        Bar("idle keep-alive connection, KiB", most=25).judge(results.figure("idle", "kib_per_connection")),
        Bar("login flood, proxied p99 × quiet", most=2).judge(results.figure("flood", "ratio")),
    ]
    return "\n".join(["| bar | wanted | measured | |", "|---|---:|---:|---|", *rows])
