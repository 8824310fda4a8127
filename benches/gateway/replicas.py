"""Replicas of one gateway: one database, one Redis, one set of keys; and what the benchmarks of revocation need around them."""

import http.client
import json
import os
import pwd
import subprocess
import time
from pathlib import Path

import servers
from lab import ROOT, Failed, target_dir

HOST = "bench.example"
POSTGRES = "/usr/lib/postgresql/*/bin/postgres"

GATEWAY = """
[server]
listen = ["127.0.0.1:{http}"]
admin = "127.0.0.1:{admin}"
threads = {threads}
idle_timeout = "600s"
# All load comes from one address.
limits = {{ connections = 100000, connections_per_address = 100000 }}
drain_timeout = "1s"
[[server.listeners]]
address = "127.0.0.1:{https}"
protocol = "https"
[[server.tls.certificates]]
name = "bench"
certificate = "{dir}/bench.crt"
key = "{dir}/bench.key"
[auth]
issuer = "{issuer}"
audience = "{audience}"
access_token = "1h"
[auth.signing]
algorithm = "EdDSA"
keys = "{keys}"
[store]
url = "{database}"
[revocation]
url = "redis://127.0.0.1:{redis}"
check = "{check}"
# What a request waits for on a machine where everything runs at once.
deadline = "1s"
[upstreams.app]
servers = ["http://127.0.0.1:{upstream}"]
read_timeout = "600s"
[upstreams.calls]
servers = ["http://127.0.0.1:{calls}"]
http = "2"
read_timeout = "600s"
[[routes]]
path = "/"
upstream = "app"
[[routes]]
path = "/ws"
upstream = "app"
websocket = true
[[routes]]
path = "/test.Bench"
upstream = "calls"
"""


class Programs:
    """The gateway, and the program that makes sockets and tokens for it."""

    def __init__(self, options):
        directory = target_dir()
        gateway = directory / {"dev": "debug"}.get(options.profile, options.profile)
        load = directory / {"dev": "debug"}.get(options.load_profile, options.load_profile) / "examples"
        self.gateway, self.tokens, self.load = gateway / "portcullis", load / "bench_tokens", load / "stream_load"
        if not options.no_build:
            # Apart: examples are built with the features that tests ask of dependencies, the gateway without.
            self._cargo(options.profile, "--bin", "portcullis")
            self._cargo(options.load_profile, "--example", "bench_tokens", "--example", "stream_load")
        for binary in (self.gateway, self.tokens, self.load):
            if not binary.exists():
                raise Failed(f"{binary} does not exist: run without --no-build")

    @staticmethod
    def _cargo(profile, *what):
        if subprocess.run(["cargo", "build", "--quiet", "--profile", profile, *what], cwd=ROOT).returncode != 0:
            raise Failed("the build failed")


def add_options(parser):
    """What to measure, and with what: the same in every benchmark of revocation."""
    parser.add_argument("--profile", default="release", help="cargo profile of the gateway (default: release)")
    parser.add_argument("--load-profile", default="release", help="cargo profile of the load (default: release)")
    parser.add_argument("--no-build", action="store_true", help="measure what is in the target directory already")


class Postgres:
    """PostgreSQL, as anybody but root."""

    def __init__(self, lab):
        binaries = sorted(Path("/").glob(POSTGRES[1:]))
        if not binaries:
            raise Failed("PostgreSQL is missing: apt-get install postgresql")
        self.home, self.port, self._binaries = lab.dir / "postgres", lab.port(), binaries[-1].parent
        self.home.mkdir()
        self._as = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.home, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", "--clear-groups", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
        data = self.home / "data"
        self._run("initdb", "--pgdata", data, "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8")
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.home}", "-c", "max_connections=200"]
        command = [*self._as, self._binaries / "postgres", "-D", data, "-p", str(self.port), *settings]
        lab.start("postgres", command, port=self.port)
        # It accepts connections a moment before it answers.
        deadline = time.monotonic() + 60
        while subprocess.run([self._binaries / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"]).returncode != 0:
            if time.monotonic() > deadline:
                raise Failed("PostgreSQL does not become ready")
            time.sleep(0.1)

    def _run(self, name, *arguments):
        command = [*self._as, self._binaries / name, *map(str, arguments)]
        done = subprocess.run([str(part) for part in command], cwd="/", capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{name}: {done.stderr.strip()[-500:]}")

    def database(self, name):
        """A new database; its URL."""
        self.statement("postgres", f"CREATE DATABASE {name}")
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def statement(self, name, sql):
        """Runs a statement in a database."""
        self._run("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--host=127.0.0.1", f"--port={self.port}", "--username=postgres",
                  f"--dbname={name}", f"--command={sql}")


class Site:
    """Redis, an upstream and what replicas share."""

    def __init__(self, lab, programs, redis=True):
        self.lab, self.programs = lab, programs
        self.upstream, self.calls = lab.port(), lab.port()
        subprocess.run([programs.load, "certificate", lab.dir], check=True)
        lab.start("upstream", [programs.load, "upstream", self.upstream, self.calls], port=self.calls)
        self.redis = servers.redis(lab, None) if redis else None
        self._replicas = 0

    def replica(self, database, check, redis=None, threads=1, wait=120):
        """Starts a gateway and waits until it is ready: the gateway, and how many seconds that took."""
        self._replicas += 1
        data = self.lab.dir / f"gateway-{self._replicas}"
        data.mkdir()
        http, https, admin = self.lab.port(), self.lab.port(), self.lab.port()
        text = GATEWAY.format(
            http=http, https=https, admin=admin, dir=self.lab.dir, issuer=servers.ISSUER, audience=servers.AUDIENCE,
            keys=servers.key_file(self.lab), database=database, redis=(redis or self.redis).port, check=check,
            upstream=self.upstream, calls=self.calls, threads=threads,
        )
        config = data / "gateway.toml"
        config.write_text(text)
        began = time.monotonic()
        process = self.lab.start(data.name, [self.programs.gateway, "run", "--config", config, "--data-dir", data])
        await_ready(self.lab, data.name, process, admin, wait)
        return Replica(data.name, http, https, admin, process), time.monotonic() - began

    def stage(self, replicas, tokens):
        """A file for the load program."""
        path = self.lab.dir / "stage.json"
        gateways = [{"http": f"127.0.0.1:{one.http}", "https": f"127.0.0.1:{one.https}"} for one in replicas]
        stage = {"certificate": f"{self.lab.dir}/bench.crt", "gateways": gateways, "tokens": tokens}
        path.write_text(json.dumps(stage))
        return path

    def sign_in(self, count):
        """Tokens of as many sessions."""
        return servers.gateway_tokens(self.lab, self.programs, count)


class Replica:
    """A running gateway."""

    def __init__(self, name, http_port, https, admin, process):
        self.name, self.http, self.https, self.admin, self.process = name, http_port, https, admin, process

    def metric(self, series):
        """The value of a time series."""
        _, text = ask(self.admin, "/metrics")
        for line in text.splitlines():
            if line.startswith(series + " "):
                return float(line.rpartition(" ")[2])
        return 0.0


def ask(port, path):
    """Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


def await_ready(lab, name, process, admin, wait):
    """Looks every few milliseconds: the time until then is what is measured."""
    deadline = time.monotonic() + wait
    while True:
        try:
            if ask(admin, "/readyz")[0] == 200:
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            said = (lab.dir / f"{name}.log").read_text(errors="replace").strip()[-1500:]
            raise Failed(f"{name} does not become ready; it said:\n{said}")
        time.sleep(0.005)


def keep(name, results):
    """Writes results where they are found later."""
    directory = target_dir() / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path


def machine():
    """What else the machine was doing, for who reads the figures later."""
    return {"cores": len(os.sched_getaffinity(0)), "load_average": os.getloadavg()}
