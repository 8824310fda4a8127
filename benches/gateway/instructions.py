#!/usr/bin/env python3
"""`make bench-instructions`: user instructions per request, counted by callgrind, of the gateway and of plain pingora.

Unlike time, a count does not depend on who else uses the machine. Each proxy runs under valgrind; after a warm-up
it serves N requests, then 3N, and the difference divided by 2N is what one request costs: start-up, the opening
of connections and everything else that happens once falls away. Only the proxy process is counted; the kernel's
work on its behalf is not. Twice over, to show how far the counts agree.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import client
import servers
from lab import Binaries, Failed, Lab, add_binary_options, main, require, target_dir


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

    def instructions(self, label):
        """User instructions since the last call."""
        done = subprocess.run(["callgrind_control", "-d", label, str(self.server.pid)], capture_output=True, text=True)
        self.dumps += 1
        dump = self.out.with_name(f"{self.out.name}.{self.dumps}")
        if done.returncode != 0 or not dump.exists():
            raise Failed(f"callgrind_control failed: {done.stdout}{done.stderr}")
        found = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(errors="replace"), re.MULTILINE)
        if found is None:
            raise Failed(f"{dump} has no total")
        return int(found[1])

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
            self.instructions(f"warm-up of {case.name}")
            slopes = []
            for _ in range(options.repeat):
                counts = []
                for factor in (1, 3):
                    self._send(connections, requests, factor * options.requests, case.status)
                    counts.append(self.instructions(f"{case.name}, {factor * options.requests} requests"))
                slopes.append((counts[1] - counts[0]) / (2 * options.requests))
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
        print(f"counting {name} …", file=sys.stderr)
        counted = Counted(lab, name.replace(" ", "-"), start, profiles)
        for case in cases_of(counted.server):
            results[case.name] = counted.measure(case, options)
        lab.stop(counted.server.process)

    def gateway(name, redis_port):
        return lambda under: servers.gateway(lab, None, up.port, binaries, name, redis_port, under=under, wait=300)

    def strict_cases(server):
        *tokens, revoked = servers.gateway_tokens(lab, binaries, options.tokens + 1)
        servers.revoke(redis.port, server, revoked)
        servers.prove(server, tokens[0], revoked=revoked)
        return (
            Case("gateway strict, cached token", 200, tuple(tokens)),
            Case("gateway strict, revoked token", 401, (revoked,)),
            Case("gateway strict, no token", 401, (None,)),
        )

    def embedded_cases(server):
        tokens = servers.gateway_tokens(lab, binaries, options.tokens)
        servers.prove(server, tokens[0])
        return (Case("gateway embedded, cached token", 200, tuple(tokens)),)

    def plain_cases(server):
        servers.prove(server, None)
        return (Case("plain pingora", 200, (None,)),)

    run("plain pingora", lambda under: servers.plain_pingora(lab, None, up.port, binaries, under, wait=120), plain_cases)
    run("strict", gateway("strict", redis.port), strict_cases)
    run("embedded", gateway("embedded", None), embedded_cases)
    return results


def report(results):
    """Rows: the mean of the slopes, how far they differ, the ratio to plain pingora."""
    floor = sum(results["plain pingora"]) / len(results["plain pingora"])
    rows = []
    for name, slopes in results.items():
        mean = sum(slopes) / len(slopes)
        rows.append({
            "case": name, "instructions": round(mean), "spread": (max(slopes) - min(slopes)) / mean, "ratio": mean / floor,
        })
    return rows


def count():
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=1000, help="N: a count is taken over N and over 3N requests (default: 1000)")
    parser.add_argument("--repeat", type=int, default=2, help="slopes per case (default: 2)")
    parser.add_argument("--connections", type=int, default=1, help="requests in flight at a time (default: 1)")
    parser.add_argument("--tokens", type=int, default=50, help="distinct tokens, all in the cache (default: 50)")
    parser.add_argument("--smoke", action="store_true", help="20 requests each: only whether it works")
    add_binary_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.requests, options.repeat, options.tokens = 20, 1, 5
    require("valgrind", "nginx", "redis-server")
    binaries = Binaries(options.profile, build=not options.no_build)
    profiles = target_dir() / "bench"
    profiles.mkdir(parents=True, exist_ok=True)
    with Lab() as lab:
        rows = report(count_all(lab, binaries, options, profiles))
    print(f"{binaries.describe()}, {options.connections} connection(s), 1 KiB body")
    print(f"{'case':<34}{'user instructions':>18}{'spread':>8}{'× plain pingora':>17}")
    for row in rows:
        print(f"{row['case']:<34}{row['instructions']:>18,}{row['spread']:>8.1%}{row['ratio']:>17.3f}")
    written = profiles / ("instructions-smoke.json" if options.smoke else "instructions.json")
    written.write_text(json.dumps({"binary": binaries.describe(), "options": vars(options), "cases": rows}, indent=1))
    print(f"written to {written}; profiles for callgrind_annotate beside it")
    return 0


if __name__ == "__main__":
    main(count)
