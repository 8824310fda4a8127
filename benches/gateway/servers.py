"""What the benchmarks start: an upstream, Redis, the peers and the gateway, each configured for one core.

All write no access log unless a variant says so, keep connections to the upstream open, and hand on a
1 KiB response.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import time
import uuid
from pathlib import Path

import client
from lab import HERE, Failed, require

ISSUER = "https://bench.example"
AUDIENCE = "bench"
# Only ever seen by processes that live as long as the run; nginx's Lua needs it in a file.
HMAC_SECRET = os.urandom(32)
BODY_BYTES = 1024

NGINX = """
{modules}
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {name}.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    client_body_temp_path {name}-body;
    proxy_temp_path {name}-proxy;
    fastcgi_temp_path {name}-fastcgi;
    uwsgi_temp_path {name}-uwsgi;
    scgi_temp_path {name}-scgi;
    {http}
}}
"""

PROXY = """
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
    {lua}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            {access}
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            {headers}
        }}
    }}
"""

LUA = """
    lua_package_path "{here}/?.lua;;";
    init_by_lua_block {{
        checker = require "jwt_redis"
        checker.init({{
            secret = ngx.decode_base64("{secret}"), issuer = "{issuer}", audience = "{audience}",
            redis_host = "127.0.0.1", redis_port = {redis},
        }})
    }}
"""

# What the gateway sets besides identity.
FORWARDED = """
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;
"""

GATEWAY = """
[server]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
threads = 1
idle_timeout = "600s"
# All load comes from one address.
limits = {{ connections = 100000, connections_per_address = 100000 }}
drain_timeout = "1s"
[auth]
issuer = "{issuer}"
audience = "{audience}"
access_token = "1h"
[auth.signing]
algorithm = "EdDSA"
keys = "{keys}"
[store]
url = "sqlite:gateway.db"
{revocation}
[upstreams.app]
servers = ["http://127.0.0.1:{upstream}"]
idle_timeout = "600s"
[[routes]]
path = "/"
upstream = "app"
[telemetry]
access_log = {access_log}
"""


# The times are long because everything is slow under valgrind, and neither refusals nor a mirror that asks Redis after all
# is what is measured.
REVOCATION = """
[revocation]
url = "redis://127.0.0.1:{redis}"
prefix = "{prefix}"
check = "{check}"
deadline = "5s"
{mirror}
"""
MIRROR = 'max_staleness = "30s"'


class Server:
    """A started server: where it listens, the process to look at, and what its keys in Redis begin with."""

    def __init__(self, name, port, process, prefix=""):
        self.name = name
        self.port = port
        self.process = process
        self.prefix = prefix

    @property
    def pid(self):
        """The process that was started; it may have children."""
        return self.process.pid


def _nginx(lab, name, http, modules=""):
    require("nginx")
    text = NGINX.format(name=name, http=http, modules=modules, user="user root;" if os.geteuid() == 0 else "")
    (lab.dir / f"{name}.conf").write_text(text)
    (lab.dir / f"{name}.conf").chmod(0o600)
    return ["nginx", "-p", f"{lab.dir}/", "-c", f"{name}.conf", "-e", "stderr"]


def upstream(lab, core):
    """nginx answering everything with the same body."""
    port = lab.port()
    body = "x" * BODY_BYTES
    http = f'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }}'
    command = _nginx(lab, "upstream", http)
    return Server("upstream", port, lab.start("upstream", command, core, port))


def nginx_plain(lab, core, upstream_port):
    """nginx as a proxy that checks nothing: the unit of every ratio."""
    port = lab.port()
    http = PROXY.format(upstream=upstream_port, port=port, lua="", access="", headers="")
    command = _nginx(lab, "nginx-plain", http)
    return Server("nginx plain", port, lab.start("nginx-plain", command, core, port))


def nginx_lua(lab, core, upstream_port, redis_port):
    """nginx with a JWT and Redis check in Lua."""
    module = "/usr/lib/nginx/modules/ngx_http_lua_module.so"
    require("nginx", module, "/usr/lib/*/lua/5.1/cjson.so")
    port = lab.port()
    secret = base64.b64encode(HMAC_SECRET).decode()
    lua = LUA.format(here=HERE, secret=secret, issuer=ISSUER, audience=AUDIENCE, redis=redis_port)
    access = "access_by_lua_block { checker.check() }"
    http = PROXY.format(upstream=upstream_port, port=port, lua=lua, access=access, headers=FORWARDED)
    modules = f"load_module {Path(module).with_name('ndk_http_module.so')};\nload_module {module};"
    command = _nginx(lab, "nginx-lua", http, modules)
    return Server("nginx + lua", port, lab.start("nginx-lua", command, core, port))


def redis(lab, core):
    """Redis without persistence."""
    require("redis-server")
    port = lab.port()
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return Server("redis", port, lab.start("redis", command, core, port))


def plain_pingora(lab, core, upstream_port, binaries, under=(), wait=30):
    """pingora as a proxy that checks nothing."""
    port = lab.port()
    command = [*under, binaries.plain, f"127.0.0.1:{port}", f"127.0.0.1:{upstream_port}"]
    return Server("plain pingora", port, lab.start("plain-pingora", command, core, port, wait))


def gateway(
    lab, core, upstream_port, binaries, name, redis_port=None, *, check="strict", access_log=False, under=(), wait=60
):
    """The gateway, ready: with `redis_port` by this `check`, with the set in memory without. All share one key file.

    Each has a database and so a prefix in Redis of its own: they are not replicas of each other.
    """
    port, admin = lab.port(), lab.port()
    data = lab.dir / name.replace(" ", "-").replace(",", "")
    data.mkdir()
    prefix = f"{data.name}:"
    revocation = "" if redis_port is None else REVOCATION.format(
        redis=redis_port, prefix=prefix, check=check, mirror=MIRROR if check == "mirror" else ""
    )
    text = GATEWAY.format(
        port=port, admin=admin, issuer=ISSUER, audience=AUDIENCE, keys=key_file(lab),
        revocation=revocation, upstream=upstream_port, access_log=str(access_log).lower(),
    )
    config = data / "gateway.toml"
    config.write_text(text)
    command = [*under, binaries.gateway, "run", "--config", config, "--data-dir", data]
    process = lab.start(data.name, command, core, port, wait)
    _await_ready(admin, wait)
    return Server(name, port, process, prefix)


def key_file(lab):
    """The signing keys of every gateway in this lab."""
    return lab.dir / "keys.json"


def _await_ready(admin, wait):
    deadline = time.monotonic() + wait
    while True:
        answer = None
        try:
            connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=5)
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            answer = response.status, response.read().decode(errors="replace").strip()
            if response.status == 200:
                return
        except OSError as error:
            answer = error
        if time.monotonic() > deadline:
            raise Failed(f"the gateway does not become ready: {answer}")
        time.sleep(0.05)


def gateway_tokens(lab, binaries, count):
    """Tokens for the gateways of this lab, distinct in `jti` and `sid`."""
    command = [binaries.tokens, key_file(lab), ISSUER, AUDIENCE, str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"no tokens: {done.stderr.strip()}")
    return done.stdout.split()


def hmac_tokens(count):
    """The same for `nginx_lua`: HS256, equal claims."""
    now = int(time.time())
    head = _base64url(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": "bench"}, separators=(",", ":")).encode())
    return [_hmac_token(head, now) for _ in range(count)]


def _hmac_token(head, now):
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": str(uuid.uuid4()), "sid": str(uuid.uuid4()), "jti": str(uuid.uuid4()),
        "iat": now, "exp": now + 3600, "auth_time": now, "roles": ["user"], "preferred_username": "ada",
    }
    signed = head + "." + _base64url(json.dumps(claims, separators=(",", ":")).encode())
    return signed + "." + _base64url(hmac.new(HMAC_SECRET, signed.encode(), hashlib.sha256).digest())


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jti(token):
    """The `jti` of a token."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]


def revoke(redis_port, server, token):
    """Revokes a token for one server as any other program may: by its `jti` in Redis, announced in the feed."""
    identifier = jti(token)
    record = json.dumps({"jti": identifier, "life_ms": 3600_000})
    for command in (
        ("SET", f"{server.prefix}revoked_jti:{identifier}", "1", "EX", "3600"),
        ("XADD", f"{server.prefix}revocation_feed", "*", "r", record),
    ):
        subprocess.run(["redis-cli", "-p", str(redis_port), *command], check=True, capture_output=True)
    # A mirror hears of it a moment later.
    deadline = time.monotonic() + 30
    while client.once(server.port, token=token)[0] != 401:
        if time.monotonic() > deadline:
            raise Failed(f"{server.name} does not refuse a revoked token")
        time.sleep(0.02)


def prove(server, token, revoked=None):
    """Makes sure that what is about to be measured does what it is measured for.

    An open gate is fast: with a token the upstream's body must come back, without one 401, and 401 too for a
    revoked one.
    """
    expected = [(token, 200)]
    if token is not None:
        expected.append((None, 401))
    if revoked is not None:
        expected.append((revoked, 401))
    for given, status in expected:
        got, body = client.once(server.port, token=given)
        if got != status or (status == 200 and len(body) != BODY_BYTES):
            what = "no token" if given is None else "a revoked token" if given == revoked else "a token"
            raise Failed(f"{server.name} answers {what} with {got} and {len(body)} bytes, not {status}: {body[:200]}")
