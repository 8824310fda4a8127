#!/usr/bin/env python3
"""What an idle keep-alive connection costs: opens many, makes one request on each, and reads the proxy's memory.

Resident memory of the process only; the kernel's socket buffers are beside it and equal for every proxy. Plain
pingora is measured too, to tell what is the framework's.
"""

import argparse
import json

import client
import cpu
import servers
from lab import Binaries, Failed, Lab, add_binary_options, main, raise_file_limit, require, target_dir

# KiB per connection.
BAR = 25.0
# Sockets to the upstream, databases, logs and the like.
OTHER_FILES = 500


def settled(pid):
    """Resident memory in KiB once it stays the same."""
    memory = cpu.settled_rss_kib(pid)
    if memory is None:
        raise Failed("the proxy's memory does not settle")
    return memory


def growth(server, tokens, count):
    """KiB that `count` idle connections add; the process has served before, so its caches are paid for."""
    requests = [client.get(server.port, token=token) for token in tokens]
    warm = client.Connection(server.port)
    for number in range(max(500, 2 * len(requests))):
        if warm.ask(requests[number % len(requests)])[0] != 200:
            raise Failed(f"{server.name} refuses")
    before = settled(server.pid)
    idle = []
    for number in range(count):
        idle.append(client.Connection(server.port))
        status, _ = idle[-1].ask(requests[number % len(requests)])
        if status != 200:
            raise Failed(f"{server.name} answers {status} on connection {number}")
    after = settled(server.pid)
    # They must be idle, not gone: each still answers.
    for connection in (idle[0], idle[count // 2], idle[-1]):
        connection.ask(requests[0])
    for connection in (warm, *idle):
        connection.close()
    return before, after


def idle():
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("connections", type=int, nargs="?", default=5000, help="idle connections (default: 5000)")
    parser.add_argument("--bar", type=float, default=BAR, help=f"KiB per connection that is still good (default: {BAR:.0f})")
    add_binary_options(parser)
    options = parser.parse_args()
    require("nginx")
    raise_file_limit(options.connections + OTHER_FILES)
    binaries = Binaries(options.profile, build=not options.no_build)
    print(f"{binaries.describe()}, {options.connections} connections")
    print(f"{'proxy':<20}{'RSS before':>14}{'RSS idle':>14}{'per connection':>18}")
    with Lab() as lab:
        up = servers.upstream(lab, None)
        plain = servers.plain_pingora(lab, None, up.port, binaries)
        gateway = servers.gateway(lab, None, up.port, binaries, "gateway embedded")
        each = 0.0
        for server, tokens in ((plain, [None]), (gateway, servers.gateway_tokens(lab, binaries, 100))):
            before, after = growth(server, tokens, options.connections)
            each = (after - before) / options.connections
            print(f"{server.name:<20}{before / 1024:>10.1f} MiB{after / 1024:>10.1f} MiB{each:>14.1f} KiB")
    results = target_dir() / "bench"
    results.mkdir(parents=True, exist_ok=True)
    figures = {"binary": binaries.describe(), "connections": options.connections, "kib_per_connection": each}
    (results / "idle.json").write_text(json.dumps(figures, indent=1))
    held = each <= options.bar
    print(f"the bar of {options.bar:g} KiB is {'held' if held else 'missed'}")
    return 0 if held else 1


if __name__ == "__main__":
    main(idle)
