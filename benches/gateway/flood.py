#!/usr/bin/env python3
"""What a flood of logins does to requests that only pass through: their p99 during it, as a ratio to the quiet before.

The gateway may use both cores, as it would: one thread forwards, one hashes. Requests are sent one at a time at a
steady pace, so that what is measured is the gateway's delay and no queue of ours; quiet and flood take turns.
"""

import argparse
import json
import signal
import statistics
import subprocess
import time

import client
import servers
from lab import HERE, Binaries, Failed, Lab, add_binary_options, main, require, target_dir

BAR = 2.0
PACE = 0.005
# Logins in flight: far more than are hashed at a time.
LOGINS = 32


def latencies(server, requests, seconds):
    """Seconds that each request took, one every `PACE`."""
    connection = client.Connection(server.port)
    taken, began = [], time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        status, _ = connection.ask(requests[len(taken) % len(requests)])
        done = time.monotonic()
        if status != 200:
            raise Failed(f"{server.name} answers {status}")
        taken.append(done - now)
        time.sleep(max(0.0, now + PACE - done))
    connection.close()
    return taken


def flooded(server, requests, seconds):
    """The same while logins pour in."""
    url = f"http://127.0.0.1:{server.port}/"
    command = ["wrk", "-t1", f"-c{LOGINS}", "-d600s", "-s", str(HERE / "flood.lua"), url]
    flood = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        time.sleep(1)
        return latencies(server, requests, seconds)
    finally:
        flood.send_signal(signal.SIGINT)
        said, _ = flood.communicate(timeout=30)
        if "requests in" not in said:
            raise Failed(f"wrk failed: {said}")


def p99_ms(taken):
    """The 99th percentile in milliseconds."""
    return statistics.quantiles(taken, n=100)[98] * 1000


def flood():
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of quiet and flood (default: 5)")
    parser.add_argument("--seconds", type=float, default=5, help="length of each (default: 5)")
    add_binary_options(parser)
    options = parser.parse_args()
    require("nginx", "wrk")
    binaries = Binaries(options.profile, build=not options.no_build)
    with Lab() as lab:
        up = servers.upstream(lab, None)
        # Guesses are counted and stopped long before they are a flood of hashes; here they must not be.
        further = "[auth.throttle]\ninsecure_off = true"
        server = servers.gateway(lab, None, up.port, binaries, "gateway embedded", tables=further)
        requests = [client.get(server.port, token=token) for token in servers.gateway_tokens(lab, binaries, 100)]
        latencies(server, requests, 2)
        ratios, quiet, busy = [], [], []
        for _ in range(options.rounds):
            quiet.append(p99_ms(latencies(server, requests, options.seconds)))
            busy.append(p99_ms(flooded(server, requests, options.seconds)))
            ratios.append(busy[-1] / quiet[-1])
    ratio = statistics.median(ratios)
    print(f"{binaries.describe()}\np99 quiet {statistics.median(quiet):.2f} ms, in the flood {statistics.median(busy):.2f} ms")
    print(f"ratio {ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f}): the bar of {BAR:g} is {'held' if ratio <= BAR else 'missed'}")
    results = target_dir() / "bench"
    results.mkdir(parents=True, exist_ok=True)
    figures = {"binary": binaries.describe(), "ratio": ratio, "quiet_ms": quiet, "flood_ms": busy}
    (results / "flood.json").write_text(json.dumps(figures, indent=1))
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    main(flood)
