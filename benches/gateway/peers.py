"""What the gateway is compared with: proxies that check nothing, and what people build from parts that do.

HAProxy verifies signatures and knows of no revocation; nginx with Lua, nginx with `auth_request` and Express verify and
ask Redis. All hand the identity on in the same headers.
"""

import base64
import shutil
import subprocess
from pathlib import Path

from lab import HERE, Failed, require, target_dir
from servers import AUDIENCE, FORWARDED, HMAC_SECRET, ISSUER, PROXY, Server, nginx_command

HAPROXY = """
global
    nbthread 1
    maxconn 8192
    tune.bufsize 16384
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    http-reuse always
frontend edge
    bind 127.0.0.1:{port}
    {checks}
    default_backend app
backend app
    server app 127.0.0.1:{upstream} pool-max-conn 1024
"""

# As HAProxy's documentation does it: header, claims, signature; then the identity in headers of ours.
JWT_CHECKS = """
    http-request deny deny_status 401 unless {{ http_auth_bearer -m found }}
    http-request set-var(txn.token) http_auth_bearer
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_header_query('$.alg') -m str {algorithm} }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.iss') -m str {issuer} }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.aud') -m str {audience} }}
    http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 1 }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify("{algorithm}","{key}") 1 }}
    http-request set-header X-Auth-Subject %[var(txn.token),jwt_payload_query('$.sub')]
    http-request set-header X-Auth-Username %[var(txn.token),jwt_payload_query('$.preferred_username')]
    http-request set-header X-Auth-Roles %[var(txn.token),jwt_payload_query('$.roles[0]')]
    http-request set-header X-Auth-Session %[var(txn.token),jwt_payload_query('$.sid')]
    http-request set-header X-Auth-Issuer %[var(txn.token),jwt_payload_query('$.iss')]
    http-request del-header Authorization
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
"""

AUTH_REQUEST = """
    upstream gate {{ server 127.0.0.1:{gate}; keepalive 1024; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            auth_request /_gate;
            auth_request_set $auth_subject $upstream_http_x_auth_subject;
            auth_request_set $auth_username $upstream_http_x_auth_username;
            auth_request_set $auth_roles $upstream_http_x_auth_roles;
            auth_request_set $auth_session $upstream_http_x_auth_session;
            auth_request_set $auth_issuer $upstream_http_x_auth_issuer;
            proxy_set_header X-Auth-Subject $auth_subject;
            proxy_set_header X-Auth-Username $auth_username;
            proxy_set_header X-Auth-Roles $auth_roles;
            proxy_set_header X-Auth-Session $auth_session;
            proxy_set_header X-Auth-Issuer $auth_issuer;
            proxy_set_header Authorization "";
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            {forwarded}
        }}
        location = /_gate {{
            internal;
            proxy_pass http://gate/auth/verify;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
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
    command = nginx_command(lab, "nginx-lua", http, modules)
    return Server("nginx + lua", port, lab.start("nginx-lua", command, core, port))


def nginx_auth_request(lab, core, upstream_port, gateway):
    """nginx that asks a gateway about every request; both count."""
    port = lab.port()
    http = AUTH_REQUEST.format(port=port, gate=gateway.port, upstream=upstream_port, forwarded=FORWARDED)
    command = nginx_command(lab, "nginx-auth-request", http)
    process = lab.start("nginx-auth-request", command, core, port)
    return Server("nginx auth_request → gateway", port, process, gateway.prefix, others=(gateway.process,))


def haproxy(lab, core, upstream_port, algorithm=None, key=None):
    """HAProxy, checking nothing or signatures by this algorithm: `key` is a secret or the file of a public key."""
    require("haproxy")
    port = lab.port()
    name = "haproxy" if algorithm is None else f"haproxy-{algorithm.lower()}"
    checks = "" if algorithm is None else JWT_CHECKS.format(algorithm=algorithm, key=key, issuer=ISSUER, audience=AUDIENCE)
    text = HAPROXY.format(port=port, upstream=upstream_port, checks=checks)
    if algorithm is not None:
        text = text.replace("    default_backend", "    http-request set-header X-Request-Id %[uuid()]\n    default_backend")
    config = lab.dir / f"{name}.cfg"
    config.write_text(text)
    config.chmod(0o600)
    process = lab.start(name, ["haproxy", "-db", "-f", config], core, port)
    return Server("HAProxy plain" if algorithm is None else f"HAProxy {algorithm}", port, process)


def express(lab, core, upstream_port, redis_port):
    """Express with jsonwebtoken, ioredis and http-proxy."""
    require("node", "npm")
    modules = target_dir() / "bench" / "express"
    modules.mkdir(parents=True, exist_ok=True)
    sources = HERE / "express"
    lock = (sources / "package-lock.json").read_bytes()
    if not (modules / "installed").exists() or (modules / "installed").read_bytes() != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(sources / name, modules / name)
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=modules, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"npm ci failed: {done.stderr.strip()[-500:]}")
        (modules / "installed").write_bytes(lock)
    shutil.copyfile(sources / "gateway.js", modules / "gateway.js")
    port = lab.port()
    settings = {
        "PORT": port, "UPSTREAM": f"http://127.0.0.1:{upstream_port}", "REDIS": redis_port, "ISSUER": ISSUER,
        "AUDIENCE": AUDIENCE, "SECRET": base64.b64encode(HMAC_SECRET).decode(), "NODE_ENV": "production",
    }
    environment = [f"{name}={value}" for name, value in settings.items()]
    command = ["env", *environment, "node", modules / "gateway.js"]
    return Server("Express", port, lab.start("express", command, core, port))
