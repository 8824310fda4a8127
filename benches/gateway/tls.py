#!/usr/bin/env python3
"""Over TLS, beside nginx: requests per second by HTTP/2, and handshakes per second.

nginx checks nothing; the gateway checks a token and asks Redis about it. Both show the same ECDSA P-256 certificate, have
one core, and take turns.
"""

import argparse
import json
import os
import re
import statistics
import subprocess

import cpu
import servers
from lab import Binaries, Failed, Lab, add_binary_options, main, require, target_dir, two_cores

NGINX = """
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        http2_max_requests 100000000;
        ssl_session_tickets off;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
"""
TABLES = """
[[server.listeners]]
address = "127.0.0.1:{port}"
protocol = "https"
[[server.tls.certificates]]
certificate = "{certificate}"
key = "{key}"
"""


def certificate(lab):
    """A certificate for this machine, by itself, and its key."""
    files = lab.dir / "tls.crt", lab.dir / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    done = subprocess.run([*command, "-out", files[0], "-keyout", files[1]], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"no certificate: {done.stderr.strip()[-300:]}")
    # Debian's nginx, started by root, reads it before it becomes another user; the gateway refuses keys that others can read.
    files[1].chmod(0o600)
    return files


def nginx(lab, core, upstream_port, files):
    """nginx with TLS and HTTP/2, checking nothing."""
    port = lab.port()
    http = NGINX.format(upstream=upstream_port, port=port, certificate=files[0], key=files[1])
    command = servers.nginx_command(lab, "nginx-tls", http)
    return servers.Server("nginx plain", port, lab.start("nginx-tls", command, core, port))


def gateway(lab, core, upstream_port, redis_port, binaries, files):
    """The gateway with TLS and HTTP/2, asking Redis."""
    port = lab.port()
    tables = TABLES.format(port=port, certificate=files[0], key=files[1])
    server = servers.gateway(lab, core, upstream_port, binaries, "gateway strict", redis_port, tables=tables)
    return servers.Server(server.name, port, server.process, server.prefix)


def h2load(lab, core, server, arguments, token, requests):
    """Runs h2load once: requests per second, and CPU µs of the proxy per request."""
    command = ["taskset", "--cpu-list", str(core), "h2load", "--threads=1", f"--requests={requests}", *arguments]
    if token is not None:
        command += ["--header", f"authorization: Bearer {token}"]
    before = sum(map(cpu.seconds, server.pids))
    done = subprocess.run([*command, f"https://localhost:{server.port}/x"], capture_output=True, text=True, timeout=300)
    spent = sum(map(cpu.seconds, server.pids)) - before
    rate = re.search(r"finished in [^,]+, ([0-9.]+) req/s", done.stdout)
    good = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if done.returncode != 0 or rate is None or good is None or int(good[1]) != requests:
        raise Failed(f"h2load at {server.name}: {done.stdout[-800:]}{done.stderr[-300:]}")
    return float(rate[1]), spent * 1e6 / requests


def tls():
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--requests", type=int, default=20_000, help="requests per turn by HTTP/2 (default: 20,000)")
    parser.add_argument("--handshakes", type=int, default=1000, help="connections per turn (default: 1,000)")
    add_binary_options(parser)
    options = parser.parse_args()
    require("nginx", "redis-server", "h2load", "openssl")
    binaries = Binaries(options.profile, build=not options.no_build)
    proxy_core, load_core = two_cores()
    os.sched_setaffinity(0, {load_core})
    kinds = {
        "HTTP/2 requests": (["--clients=16", "--max-concurrent-streams=16"], options.requests),
        # A connection for each request.
        "TLS handshakes": ([f"--clients={options.handshakes}", "--max-concurrent-streams=1"], options.handshakes),
    }
    taken = {}
    with Lab() as lab:
        up, redis, files = servers.upstream(lab, load_core), servers.redis(lab, load_core), certificate(lab)
        ours = gateway(lab, proxy_core, up.port, redis.port, binaries, files)
        pair = ((nginx(lab, proxy_core, up.port, files), None), (ours, servers.gateway_tokens(lab, binaries, 1)[0]))
        for _ in range(options.rounds):
            for kind, (arguments, requests) in kinds.items():
                for server, token in pair:
                    measured = h2load(lab, load_core, server, arguments, token, requests)
                    taken.setdefault((kind, server.name), []).append(measured)
    rows = []
    for kind in kinds:
        plain = [rate for rate, _ in taken[kind, "nginx plain"]]
        for server, _ in pair:
            rates, costs = zip(*taken[kind, server.name])
            ratio = statistics.median(rate / by for rate, by in zip(rates, plain))
            figures = {"per_second": statistics.median(rates), "cpu_us": statistics.median(costs), "ratio": ratio}
            rows.append({"what": kind, "server": server.name, **figures})
    print(f"{binaries.describe()}\n\n| what | server | × nginx plain | per second | CPU µs each |\n|---|---|---:|---:|---:|")
    for row in rows:
        print(f"| {row['what']} | {row['server']} | {row['ratio']:.2f} | {row['per_second']:.0f} | {row['cpu_us']:.0f} |")
    results = target_dir() / "bench"
    results.mkdir(parents=True, exist_ok=True)
    (results / "tls.json").write_text(json.dumps({"binary": binaries.describe(), "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    main(tls)
