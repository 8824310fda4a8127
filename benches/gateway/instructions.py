#!/usr/bin/env python3
"""`make bench-instructions` and `make bench-allocations`: what one request costs the gateway, and plain pingora, in user
instructions and in allocations, counted by callgrind.

Unlike time, a count does not depend on who else uses the machine. Each proxy runs under valgrind; after a warm-up
it serves N requests, then 3N, and the difference divided by 2N is what one request costs: start-up, the opening
of connections and everything else that happens once falls away. What the process does by itself, at so much a second (timers,
the inspection of Redis, the mirror's feed), is counted while nothing is asked of it, and taken off: under valgrind a request
takes a hundred times as long, and would be charged with a hundred times as much of it. Only the proxy process is counted; the
kernel's work on its behalf is not. Twice over, to show how far the counts agree.

`--allocations-at-most FILE` fails if a request makes more allocations than the file says.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import client
import servers
from lab import Binaries, Failed, Lab, add_binary_options, main, require, target_dir


# What Rust calls for memory, through the mimalloc crate.
ALLOCATING = ("cfn=mi_malloc_aligned", "cfn=mi_zalloc_aligned", "cfn=mi_realloc_aligned")
# Counts of allocations are exact but for what the process does by itself.
ALLOCATIONS_TOLERANCE = 0.5


@dataclass(frozen=True)
class Count:
    """What a process did in a while."""

    instructions: float
    allocations: float
    seconds: float

    def without(self, idle):
        """The same without what it would have done anyway."""
        share = self.seconds / idle.seconds
        return Count(
            self.instructions - share * idle.instructions, self.allocations - share * idle.allocations, self.seconds
        )

    def slope(self, longer, requests):
        """What each of `requests` more cost."""
        return Count(
            (longer.instructions - self.instructions) / requests, (longer.allocations - self.allocations) / requests, 0
        )


@dataclass(frozen=True)
class Case:
    """One kind of request to one proxy."""

    name: str
    status: int
    # `None`: no Authorization header.
    tokens: tuple


class Counted:
    """A proxy under callgrind."""

    def __init__(self, lab, name, start, profiles):
        self.lab = lab
        self.profiles = profiles
        self.out = lab.dir / f"callgrind.{name}"
        under = [
            # valgrind counts `rep movsb` once per byte, the processor hardly at all: without this a future of 16 KiB
            # that is moved would weigh more than everything else. Copies are counted as loops over vectors instead.
            "env", f"GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold={1 << 30}",
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={self.out}",
            # One thread runs at a time; without this the one that holds the lock keeps it.
            "--fair-sched=yes",
            # Else a dump cannot be read without the ones before it, where its names were introduced.
            "--compress-strings=no", "--compress-pos=no",
        ]
        self.server = start(under)
        self.dumps = 0
        self.since = time.monotonic()

    def count(self, label):
        """What was done since the last call."""
        done = subprocess.run(["callgrind_control", "-d", label, str(self.server.pid)], capture_output=True, text=True)
        self.dumps += 1
        dump = self.out.with_name(f"{self.out.name}.{self.dumps}")
        if done.returncode != 0 or not dump.exists():
            raise Failed(f"callgrind_control failed: {done.stdout}{done.stderr}")
        text = dump.read_text(errors="replace")
        found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if found is None:
            raise Failed(f"{dump} has no total")
        before, self.since = self.since, time.monotonic()
        return Count(int(found[1]), self._allocations(text), self.since - before)

    @staticmethod
    def _allocations(dump):
        allocations, allocating = 0, False
        for line in dump.splitlines():
            if line.startswith("cfn="):
                allocating = line in ALLOCATING
            elif allocating and line.startswith("calls="):
                allocations += int(line[len("calls=") :].split()[0])
                allocating = False
        return allocations

    def keep_profile(self, name):
        """Copies the last dump to where `callgrind_annotate` can be pointed at it."""
        last = self.out.with_name(f"{self.out.name}.{self.dumps}")
        kept = self.profiles / f"callgrind.{re.sub(r'[^a-z]+', '-', name)}.out"
        shutil.copyfile(last, kept)

    def measure(self, case, options):
        """Slopes of one case: instructions per request, once per repetition."""
        connections = [client.Connection(self.server.port, timeout=300) for _ in range(options.connections)]
        try:
            requests = [client.get(self.server.port, token=token) for token in case.tokens]
            # Every token once, so that each is in the cache; and enough for pools and allocator to settle.
            self._send(connections, requests, max(options.requests, 2 * len(requests)), case.status)
            self.count(f"warm-up of {case.name}")
            time.sleep(options.idle)
            idle = self.count(f"idle before {case.name}")
            slopes = []
            for _ in range(options.repeat):
                counts = []
                for factor in (1, 3):
                    self._send(connections, requests, factor * options.requests, case.status)
                    counts.append(self.count(f"{case.name}, {factor * options.requests} requests").without(idle))
                slopes.append(counts[0].slope(counts[1], 2 * options.requests))
        finally:
            for connection in connections:
                connection.close()
        self.keep_profile(case.name)
        return slopes

    @staticmethod
    def _send(connections, requests, count, status):
        """Exactly `count` requests, as many at a time as there are connections."""
        sent = 0
        while sent < count:
            wave = connections[: count - sent]
            for connection in wave:
                connection.send(requests[sent % len(requests)])
                sent += 1
            for connection in wave:
                got, body = connection.receive()
                if got != status:
                    raise Failed(f"answered {got} instead of {status}: {body[:200]}")


def count_all(lab, binaries, options, profiles):
    """Every proxy in turn, each with its cases: name → slopes."""
    up, redis = servers.upstream(lab, None), servers.redis(lab, None)
    results = {}

    def run(name, start, cases_of):
        if options.only and name not in ("plain pingora", *options.only):
            return
        print(f"counting {name} …", file=sys.stderr)
        counted = Counted(lab, name.replace(" ", "-"), start, profiles)
        for case in cases_of(counted.server):
            results[case.name] = counted.measure(case, options)
        lab.stop(counted.server.process)

    def gateway(name, redis_port, check="strict"):
        return lambda under: servers.gateway(
            lab, None, up.port, binaries, name, redis_port, check=check, under=under, wait=300
        )

    def shared_set_cases(server):
        *tokens, revoked = servers.gateway_tokens(lab, binaries, options.tokens + 1)
        servers.revoke(redis.port, server, revoked)
        servers.prove(server, tokens[0], revoked=revoked)
        return (
            Case(f"gateway {server.name}, cached token", 200, tuple(tokens)),
            Case(f"gateway {server.name}, revoked token", 401, (revoked,)),
            Case(f"gateway {server.name}, no token", 401, (None,)),
        )

    def embedded_cases(server):
        tokens = servers.gateway_tokens(lab, binaries, options.tokens)
        servers.prove(server, tokens[0])
        return (Case("gateway embedded, cached token", 200, tuple(tokens)),)

    def plain_cases(server):
        servers.prove(server, None)
        tokens = servers.gateway_tokens(lab, binaries, options.tokens)
        return (
            Case("plain pingora", 200, (None,)),
            # The same bytes that the gateway is sent.
            Case("plain pingora, sent a token", 200, tuple(tokens)),
        )

    run("strict", gateway("strict", redis.port), shared_set_cases)
    run("mirror", gateway("mirror", redis.port, "mirror"), shared_set_cases)
    run("embedded", gateway("embedded", None), embedded_cases)
    # After a gateway has made the keys that tokens are signed with.
    run("plain pingora", lambda under: servers.plain_pingora(lab, None, up.port, binaries, under, wait=120), plain_cases)
    return results


def report(results):
    """Rows: the mean of the slopes, how far they differ, the ratio to plain pingora."""
    def mean(name):
        return sum(slope.instructions for slope in results[name]) / len(results[name])

    rows = []
    for name, slopes in results.items():
        instructions = [slope.instructions for slope in slopes]
        rows.append({
            "case": name,
            "instructions": round(mean(name)),
            "spread": (max(instructions) - min(instructions)) / mean(name),
            "ratio": mean(name) / mean("plain pingora"),
            "allocations": round(min(slope.allocations for slope in slopes), 2),
        })
    return rows


def allocating_too_much(rows, path):
    """Sentences about the cases that allocate more often than they may."""
    allowed = json.loads(path.read_text())
    return [
        f"{row['case']}: {row['allocations']} allocations per request, {allowed[row['case']]} are recorded in {path.name}"
        for row in rows
        if row["case"] in allowed and row["allocations"] > allowed[row["case"]] + ALLOCATIONS_TOLERANCE
    ]


def count():
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=1000, help="N: a count is taken over N and over 3N requests (default: 1000)")
    parser.add_argument("--repeat", type=int, default=2, help="slopes per case (default: 2)")
    parser.add_argument("--connections", type=int, default=1, help="requests in flight at a time (default: 1)")
    parser.add_argument("--tokens", type=int, default=50, help="distinct tokens, all in the cache (default: 50)")
    parser.add_argument(
        "--only", action="append", choices=("strict", "mirror", "embedded"),
        help="besides plain pingora count only this one; may be repeated (default: all)",
    )
    parser.add_argument("--idle", type=float, default=5, help="seconds for which an idle process is counted (default: 5)")
    parser.add_argument("--allocations-at-most", type=Path, metavar="FILE", help="fail if a case allocates more often than this file says")
    parser.add_argument("--smoke", action="store_true", help="20 requests each: only whether it works")
    add_binary_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.requests, options.repeat, options.tokens, options.idle = 20, 1, 5, 1
    require("valgrind", "nginx", "redis-server")
    binaries = Binaries(options.profile, build=not options.no_build)
    profiles = target_dir() / "bench"
    profiles.mkdir(parents=True, exist_ok=True)
    with Lab() as lab:
        rows = report(count_all(lab, binaries, options, profiles))
    print(f"{binaries.describe()}, {options.connections} connection(s), 1 KiB body")
    print(f"{'case':<34}{'user instructions':>18}{'spread':>8}{'× plain pingora':>17}{'allocations':>13}")
    for row in rows:
        print(
            f"{row['case']:<34}{row['instructions']:>18,}{row['spread']:>8.1%}{row['ratio']:>17.3f}{row['allocations']:>13.1f}"
        )
    written = profiles / ("instructions-smoke.json" if options.smoke else "instructions.json")
    written.write_text(json.dumps({"binary": binaries.describe(), "options": vars(options), "cases": rows}, indent=1, default=str))
    print(f"written to {written}; profiles for callgrind_annotate beside it")
    too_much = allocating_too_much(rows, options.allocations_at_most) if options.allocations_at_most else []
    for sentence in too_much:
        print(sentence, file=sys.stderr)
    return 1 if too_much else 0


if __name__ == "__main__":
    main(count)
