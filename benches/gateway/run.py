#!/usr/bin/env python3
"""`make bench`: the gateway beside a plain nginx, a plain pingora and a hand-written check in nginx' Lua.

Figures of a shared machine mean nothing by themselves, so everything is a ratio within one run. The proxy under
test has a core for itself; load, upstream and Redis have another. Variants take turns in short slices, each
compared with the nginx-plain slices right before and after it; slices in which somebody else used the processor
are thrown away and taken again. docs/performance.md says what the columns mean.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import cpu
import servers
from lab import HERE, Binaries, Failed, Lab, add_binary_options, main, require, target_dir, two_cores

# Shares of a slice that others may have had of the two cores before it counts as dirty.
FOREIGN_MAX = 0.05
STEAL_MAX = 0.01
# Below this the proxy was waiting for the load, and throughput says little about it.
BUSY_MIN = 0.75
# How often a round is repeated for the sake of slices that were dirty.
ROUNDS_FACTOR = 4


@dataclass(frozen=True)
class Slice:
    """One variant under load, once."""

    rps: float
    cpu_us: float
    p50_us: int
    p99_us: int
    busy: float
    foreign: float
    steal: float
    failed: int

    @property
    def clean(self):
        """Whether the machine was ours."""
        return self.foreign <= FOREIGN_MAX and self.steal <= STEAL_MAX


@dataclass(frozen=True)
class Variant:
    """A proxy and the tokens to send it; no file: none."""

    server: servers.Server
    tokens: str | None = None


class Bench:
    """Everything that runs, and how a slice of it is measured."""

    def __init__(self, lab, binaries, options):
        self.lab = lab
        self.options = options
        self.proxy_core, self.load_core = two_cores()
        # The runner shares the load's core; proxies are pinned away from it one by one.
        os.sched_setaffinity(0, {self.load_core})
        self.upstream = servers.upstream(lab, self.load_core)
        self.redis = servers.redis(lab, self.load_core)
        self.plain, self.variants = self._start(binaries)

    def _start(self, binaries):
        lab, core, up, redis = self.lab, self.proxy_core, self.upstream.port, self.redis.port
        count = self.options.tokens
        plain = Variant(servers.nginx_plain(lab, core, up))
        lua = servers.nginx_lua(lab, core, up, redis)
        pingora = servers.plain_pingora(lab, core, up, binaries)
        strict = servers.gateway(lab, core, up, binaries, "gateway strict", redis)
        logging = servers.gateway(lab, core, up, binaries, "gateway strict, access log", redis, access_log=True)
        mirror = servers.gateway(lab, core, up, binaries, "gateway mirror", redis, check="mirror")
        embedded = servers.gateway(lab, core, up, binaries, "gateway embedded")
        hs256, eddsa = servers.hmac_tokens(count + 1), servers.gateway_tokens(lab, binaries, count + 1)
        for server, tokens in ((lua, hs256), (strict, eddsa), (logging, eddsa), (mirror, eddsa)):
            servers.revoke(redis, server, tokens[-1])
            servers.prove(server, tokens[0], revoked=tokens[-1])
        servers.prove(embedded, eddsa[0])
        for server in (plain.server, pingora):
            servers.prove(server, None)
        hs256_file, eddsa_file = self._write("hs256", hs256[:-1]), self._write("eddsa", eddsa[:-1])
        gateways = [Variant(server, eddsa_file) for server in (strict, logging, mirror, embedded)]
        return plain, [Variant(lua, hs256_file), Variant(pingora), *gateways]

    def _write(self, name, tokens):
        path = self.lab.dir / f"{name}.tokens"
        path.write_text("".join(f"{token}\n" for token in tokens))
        return str(path)

    def slice(self, variant, seconds):
        """Loads one variant for a while."""
        before = self._counters(variant)
        result = self._load(variant, seconds)
        after = self._counters(variant)
        elapsed, proxy, ours = (late - early for late, early in zip(after[:3], before[:3]))
        cores = [late - early for late, early in zip(after[3:], before[3:])]
        return Slice(
            rps=result["requests"] / (result["micros"] / 1e6),
            cpu_us=proxy * 1e6 / max(result["requests"], 1),
            p50_us=result["p50"],
            p99_us=result["p99"],
            busy=cores[0].load,
            foreign=max(sum(core.busy for core in cores) - ours, 0) / elapsed,
            steal=sum(core.steal for core in cores) / elapsed,
            failed=result["refused"] + result["broken"],
        )

    def _counters(self, variant):
        # Everything that belongs to the run is a descendant of this process, `wrk` included.
        used = cpu.seconds(variant.server.pid), cpu.seconds(os.getpid())
        return time.monotonic(), *used, cpu.core(self.proxy_core), cpu.core(self.load_core)

    def _load(self, variant, seconds):
        environment = {**os.environ}
        environment.pop("BENCH_TOKENS", None)
        if variant.tokens is not None:
            environment["BENCH_TOKENS"] = variant.tokens
        url = f"http://127.0.0.1:{variant.server.port}/x"
        command = ["wrk", "-t1", f"-c{self.options.connections}", "-d60s", "--latency", "-s", str(HERE / "load.lua"), url]
        load = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            # wrk counts whole seconds; interrupted, it reports what it has.
            time.sleep(seconds)
        finally:
            load.send_signal(signal.SIGINT)
            said, _ = load.communicate(timeout=30)
        if load.returncode != 0:
            raise Failed(f"wrk failed: {said}")
        return json.loads(said.strip().splitlines()[-1])


def rounds(bench, options):
    """Takes turns until every variant has enough clean slices: variant → [(slice, ratio to nginx plain)]."""
    kept = {variant: [] for variant in bench.variants}
    plain_kept, dirty = [], 0
    for variant in (bench.plain, *bench.variants):
        bench.slice(variant, options.slice)  # connections, caches and pools are warm after it
    for _ in range(1 if options.smoke else options.rounds * ROUNDS_FACTOR):
        before = bench.slice(bench.plain, options.slice)
        for variant in bench.variants:
            if len(kept[variant]) >= options.rounds:
                continue
            taken, after = bench.slice(variant, options.slice), bench.slice(bench.plain, options.slice)
            if taken.failed or after.failed:
                who = variant if taken.failed else bench.plain
                raise Failed(f"{who.server.name}: {taken.failed or after.failed} requests failed")
            if options.smoke or (before.clean and taken.clean and after.clean):
                kept[variant].append((taken, taken.rps / statistics.mean((before.rps, after.rps))))
                plain_kept.append(after)
            else:
                dirty += 1
            before = after
        progress(kept, options, dirty)
    kept[bench.plain] = [(plain, 1.0) for plain in plain_kept]
    return kept, dirty


def progress(kept, options, dirty):
    """One line that overwrites itself, for people only."""
    if sys.stderr.isatty():
        done = sum(map(len, kept.values()))
        print(f"\r{done} of {len(kept) * options.rounds} slices, {dirty} dirty ", end="", file=sys.stderr, flush=True)


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
    """The rows for people."""
    lines = [f"{'variant':<28}{'× nginx plain':>14}{'range':>14}{'req/s':>9}{'CPU µs':>8}{'p50 ms':>8}{'p99 ms':>8}{'core':>6}{'slices':>8}"]
    for row in rows:
        if not row["slices"]:
            lines.append(f"{row['variant']:<28}{'no clean slice':>14}")
            continue
        spread = f"{row['ratio_low']:.2f}–{row['ratio_high']:.2f}"
        lines.append(
            f"{row['variant']:<28}{row['ratio']:>14.2f}{spread:>14}{row['rps']:>9.0f}{row['cpu_us']:>8.1f}"
            f"{row['p50_us'] / 1000:>8.2f}{row['p99_us'] / 1000:>8.2f}{row['busy']:>6.0%}{row['slices']:>8}"
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


def bench():
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="clean slices per variant (default: 15)")
    parser.add_argument("--slice", type=float, default=1.5, help="seconds per slice (default: 1.5)")
    parser.add_argument("--connections", type=int, default=64, help="connections of the load (default: 64)")
    parser.add_argument("--tokens", type=int, default=2000, help="distinct tokens (default: 2000)")
    parser.add_argument("--smoke", action="store_true", help="0.3 s each, once: only whether it works; dirty slices count")
    add_binary_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.slice, options.rounds = 0.3, 1
    require("nginx", "wrk", "redis-server")
    binaries = Binaries(options.profile, build=not options.no_build)
    with Lab() as lab:
        running = Bench(lab, binaries, options)
        kept, dirty = rounds(running, options)
    rows = summarise(kept, [running.plain, *running.variants])
    said = remarks(rows, dirty)
    print(f"\n{binaries.describe()}, {options.connections} connections, {options.tokens} tokens, slices of {options.slice} s")
    print("\n".join([table(rows), *said]))
    report = {
        "binary": binaries.describe(), "machine": platform.platform(), "options": vars(options), "remarks": said,
        "variants": rows,
        "slices": {variant.server.name: [{**asdict(taken), "ratio": ratio} for taken, ratio in slices] for variant, slices in kept.items()},
    }
    results = target_dir() / "bench" / ("smoke.json" if options.smoke else "throughput.json")
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(report, indent=1))
    print(f"written to {results}")
    return 0 if all(row["slices"] for row in rows) else 1


if __name__ == "__main__":
    main(bench)
