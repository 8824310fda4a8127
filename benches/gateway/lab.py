"""Where a benchmark lives: programs, processes, ports, cores. Everything started here ends here.

Nothing is left behind: processes die with the Lab however it ends, files live in one temporary directory.
Only results are kept, under `target/bench/`.
"""

import glob
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

# What is needed → the Debian package that has it. A path is looked for, anything else is a program.
PACKAGES = {
    "nginx": "nginx",
    "wrk": "wrk",
    "redis-server": "redis-server",
    "haproxy": "haproxy",
    "h2load": "nghttp2-client",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "valgrind": "valgrind",
    "/usr/lib/nginx/modules/ngx_http_lua_module.so": "libnginx-mod-http-lua",
    "/usr/lib/*/lua/5.1/cjson.so": "lua-cjson",
}


class Failed(Exception):
    """A benchmark cannot go on; the message is for the person who ran it."""


def require(*names):
    """Installs what is missing, saying so."""
    missing = [PACKAGES[name] for name in names if not (glob.glob(name) if "/" in name else shutil.which(name))]
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update", "--quiet"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode == 0 and command is install:
            return
    raise Failed(f"cannot install {' '.join(missing)}: {done.stderr.strip()[-300:]}")


def target_dir():
    """Cargo's target directory, wherever the environment puts it."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    metadata = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return Path(json.loads(metadata)["target_directory"])


class Binaries:
    """The executables under test, and what to call them in a report."""

    def __init__(self, profile, build):
        self.profile = profile
        directory = target_dir() / {"dev": "debug"}.get(profile, profile)
        self.gateway = directory / "portcullis"
        self.plain = directory / "examples" / "plain_pingora"
        self.tokens = directory / "examples" / "bench_tokens"
        if build:
            # Apart: examples are built with the features that tests ask of dependencies, the gateway without.
            self._cargo("--bin", "portcullis")
            self._cargo("--example", "plain_pingora", "--example", "bench_tokens")
        for binary in (self.gateway, self.plain, self.tokens):
            if not binary.exists():
                raise Failed(f"{binary} does not exist: run without --no-build")

    def _cargo(self, *what):
        if subprocess.run(["cargo", "build", "--quiet", "--profile", self.profile, *what], cwd=ROOT).returncode != 0:
            raise Failed("the build failed")

    def describe(self):
        """The measured binary, its profile and its age."""
        built = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.gateway.stat().st_mtime))
        return f"profile {self.profile}: {self.gateway}, built {built}"


def add_binary_options(parser):
    """`--profile` and `--no-build`, the same in every benchmark."""
    parser.add_argument("--profile", default="release", help="cargo profile to build and measure (default: release)")
    parser.add_argument("--no-build", action="store_true", help="measure what is in the target directory already")


def two_cores():
    """One core for the proxy under test, one for everything else; not two threads of one core if avoidable."""
    allowed = sorted(os.sched_getaffinity(0))
    first = allowed[0]
    siblings = Path(f"/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list")
    twins = _cpu_list(siblings.read_text()) if siblings.exists() else set()
    others = [core for core in allowed if core not in twins] or [core for core in allowed if core != first]
    if not others:
        raise Failed("this needs two cores: one for the proxy, one for load, upstream and Redis")
    return first, others[0]


def _cpu_list(text):
    cores = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        cores.update(range(int(low), int(high or low) + 1))
    return cores


def raise_file_limit(needed):
    """Lifts the soft limit on open files to the hard one; fails if that is less than `needed`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < needed:
        raise Failed(f"{needed} open files are needed, the hard limit is {hard}: see `ulimit -Hn`")


class Lab:
    """Processes on free loopback ports, in a temporary directory. Use it with `with`."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="portcullis-bench-"))
        # Debian's nginx, started by root, serves as another user.
        self.dir.chmod(0o711)
        self._children = []
        self._ports = set()

    def __enter__(self):
        for terminating in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(terminating, lambda number, _frame: sys.exit(128 + number))
        return self

    def __exit__(self, *_):
        for child in reversed(self._children):
            self.stop(child)
        shutil.rmtree(self.dir, ignore_errors=True)

    def port(self):
        """A loopback port that nothing listens on, never the same twice."""
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            if port not in self._ports:
                self._ports.add(port)
                return port

    def start(self, name, command, core=None, port=None, wait=30):
        """Starts `command` on `core`, and waits until `port` accepts connections. Output goes to `NAME.log`."""
        pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
        log = self.dir / f"{name}.log"
        with open(log, "wb") as output:
            child = subprocess.Popen(
                [*pinned, *map(str, command)],
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(child)
        if port is not None:
            self.await_port(name, child, port, wait)
        return child

    def await_port(self, name, child, port, wait):
        """Waits until `port` accepts connections; says what the process wrote if it never does."""
        deadline = time.monotonic() + wait
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if child.poll() is not None or time.monotonic() > deadline:
                    said = (self.dir / f"{name}.log").read_text(errors="replace").strip()[-1500:]
                    raise Failed(f"{name} does not listen on port {port}; it said:\n{said}") from None
                time.sleep(0.02)

    def stop(self, child):
        """Ends a process and what it started: politely, then not."""
        for sign, wait in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
            try:
                os.killpg(child.pid, sign)
            except ProcessLookupError:
                pass
            try:
                child.wait(wait)
                if sign == signal.SIGKILL:
                    return
            except subprocess.TimeoutExpired:
                continue


def main(body):
    """Runs a benchmark's `body`: problems as one sentence, a number of its choosing as the exit code."""
    try:
        sys.exit(body())
    except Failed as problem:
        sys.exit(f"{Path(sys.argv[0]).name}: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
