#!/usr/bin/env python3
"""`make bench`: the gateway beside proxies that check nothing, proxies that check signatures, and checks written by hand.

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
import peers
import report
import servers
from lab import HERE, Binaries, Failed, Lab, add_binary_options, main, require, target_dir, two_cores

# Shares of a slice that others may have had of the two cores before it counts as dirty.
FOREIGN_MAX = 0.05
STEAL_MAX = 0.01
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
        count = self.options.tokens + 1
        plain = Variant(servers.nginx_plain(lab, core, up))
        unchecked = [servers.plain_pingora(lab, core, up, binaries), peers.haproxy(lab, core, up)]
        for server in (plain.server, *unchecked):
            servers.prove(server, None)

        def gateway(name, port=redis, **further):
            return servers.gateway(lab, core, up, binaries, name, port, **further)

        gateways = [
            gateway("gateway strict"), gateway("gateway strict, access log", access_log=True),
            gateway("gateway mirror", check="mirror"), gateway("gateway embedded", None),
        ]
        asked = gateway("gateway that nginx asks", further='trusted_proxies = ["127.0.0.1"]')
        by_secret = [peers.nginx_lua(lab, core, up, redis)]
        if not self.options.smoke:
            # Its packages are many, and come from far.
            by_secret.append(peers.express(lab, core, up, redis))
        hs256, eddsa = servers.hmac_tokens(count), servers.gateway_tokens(lab, binaries, count)
        variants = [Variant(server) for server in unchecked]
        variants += self._proven(hs256, by_secret, revocable=True)
        variants += self._proven(hs256, [peers.haproxy(lab, core, up, "HS256", servers.HMAC_SECRET.decode())])
        for algorithm in ("RS256", "ES256"):
            tokens, public = servers.signed_tokens(lab, binaries, algorithm, count)
            variants += self._proven(tokens, [peers.haproxy(lab, core, up, algorithm, public)])
        variants += self._proven(eddsa, [peers.nginx_auth_request(lab, core, up, asked), *gateways[:-1]], revocable=True)
        variants += self._proven(eddsa, gateways[-1:])
        return plain, variants

    def _proven(self, tokens, group, revocable=False):
        """Variants for servers that let the first of these tokens pass and not the last, once it is revoked."""
        *good, last = tokens
        path = self._write(f"{group[0].name}-tokens", good)
        for server in group:
            if revocable:
                servers.revoke(self.redis.port, server, last)
            servers.prove(server, good[0], revoked=last if revocable else None)
        return [Variant(server, path) for server in group]

    def _write(self, name, tokens):
        path = self.lab.dir / name.replace(" ", "-")
        path.write_text("".join(f"{token}\n" for token in tokens))
        return str(path)

    def slice(self, variant, connections):
        """Loads one variant for a while."""
        before = self._counters(variant)
        result = self._load(variant, connections)
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
        used = sum(map(cpu.seconds, variant.server.pids)), cpu.seconds(os.getpid())
        return time.monotonic(), *used, cpu.core(self.proxy_core), cpu.core(self.load_core)

    def _load(self, variant, connections):
        environment = {**os.environ}
        environment.pop("BENCH_TOKENS", None)
        if variant.tokens is not None:
            environment["BENCH_TOKENS"] = variant.tokens
        url = f"http://127.0.0.1:{variant.server.port}/x"
        command = ["wrk", "-t1", f"-c{connections}", "-d60s", "--latency", "-s", str(HERE / "load.lua"), url]
        load = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            # wrk counts whole seconds; interrupted, it reports what it has.
            time.sleep(self.options.slice)
        finally:
            load.send_signal(signal.SIGINT)
            said, _ = load.communicate(timeout=30)
        if load.returncode != 0:
            raise Failed(f"wrk failed: {said}")
        return json.loads(said.strip().splitlines()[-1])


def rounds(bench, options, connections):
    """Takes turns until every variant has enough clean slices: variant → [(slice, ratio to nginx plain)], and how many were dirty."""
    kept = {variant: [] for variant in bench.variants}
    plain_kept, dirty = [], 0
    for variant in (bench.plain, *bench.variants):
        bench.slice(variant, connections)  # connections, caches and pools are warm after it
    for _ in range(1 if options.smoke else options.rounds * ROUNDS_FACTOR):
        before = bench.slice(bench.plain, connections)
        for variant in bench.variants:
            if len(kept[variant]) >= options.rounds:
                continue
            taken, after = bench.slice(variant, connections), bench.slice(bench.plain, connections)
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


def measure(bench, options, connections, binaries):
    """One table: everything under this many connections."""
    kept, dirty = rounds(bench, options, connections)
    rows = report.summarise(kept, [bench.plain, *bench.variants])
    said = report.remarks(rows, dirty)
    print(f"\n{binaries.describe()}\n{connections} connections, {options.tokens} tokens, slices of {options.slice} s\n")
    print("\n".join([report.table(rows), "", *said]), flush=True)
    slices = {
        variant.server.name: [{**asdict(taken), "ratio": ratio} for taken, ratio in slices] for variant, slices in kept.items()
    }
    return {
        "binary": binaries.describe(), "machine": platform.platform(), "options": vars(options), "connections": connections,
        "remarks": said, "variants": rows, "slices": slices,
    }


def bench():
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="clean slices per variant (default: 8)")
    parser.add_argument("--slice", type=float, default=1.0, help="seconds per slice (default: 1)")
    parser.add_argument("--connections", default="64,256", help="connections of the load, a table for each (default: 64,256)")
    parser.add_argument("--tokens", type=int, default=2000, help="distinct tokens (default: 2000)")
    parser.add_argument("--smoke", action="store_true", help="0.3 s each, once: only whether it works; dirty slices count")
    add_binary_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.slice, options.rounds, options.connections = 0.3, 1, "64"
    require("nginx", "wrk", "redis-server")
    binaries = Binaries(options.profile, build=not options.no_build)
    results = target_dir() / "bench"
    results.mkdir(parents=True, exist_ok=True)
    enough = True
    with Lab() as lab:
        running = Bench(lab, binaries, options)
        for number, connections in enumerate(map(int, options.connections.split(","))):
            measured = measure(running, options, connections, binaries)
            name = "smoke" if options.smoke else f"throughput-{connections}" if number else "throughput"
            (results / f"{name}.json").write_text(json.dumps(measured, indent=1))
            rows = measured["variants"]
            enough = enough and all(row["slices"] for row in rows)
            if enough and not options.smoke:
                plot = report.plot(f"requests per second, nginx plain = 1 ({connections} connections)", rows)
                (results / f"{name}.svg").write_text(plot)
    if options.smoke:
        return 0 if enough else 1
    if not enough:
        raise Failed("too few clean slices: others use these processors; run it on a machine that does nothing else")
    print(f"\n{report.bars(results)}\n\nplots and figures are in {results}")
    return 0


if __name__ == "__main__":
    main(bench)
