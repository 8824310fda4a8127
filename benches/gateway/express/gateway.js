// What one writes by hand in Node.js instead of a gateway: verifies an HS256 token, asks Redis whether its jti is revoked,
// hands the identity on and forwards. The peer of `run.py`; settings come from the environment.
"use strict";

const { Agent } = require("node:http");
const express = require("express");
const { createProxyServer } = require("http-proxy");
const Redis = require("ioredis");
const jwt = require("jsonwebtoken");

const { PORT, UPSTREAM, REDIS, SECRET, ISSUER, AUDIENCE } = process.env;
const secret = Buffer.from(SECRET, "base64");
const redis = new Redis(Number(REDIS), "127.0.0.1", { enableAutoPipelining: true });
const proxy = createProxyServer({ target: UPSTREAM, agent: new Agent({ keepAlive: true, maxSockets: 1024 }), xfwd: true });
proxy.on("error", (_error, _request, response) => response.writeHead(502).end());

const app = express();
app.disable("x-powered-by");
app.use(async (request, response) => {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  let claims;
  try {
    if (scheme !== "Bearer") throw new Error("no token");
    claims = jwt.verify(token, secret, { algorithms: ["HS256"], issuer: ISSUER, audience: AUDIENCE });
  } catch {
    return response.status(401).set("www-authenticate", "Bearer").end();
  }
  try {
    if (await redis.exists(`revoked_jti:${claims.jti}`)) return response.status(401).set("www-authenticate", "Bearer").end();
  } catch {
    return response.status(503).end();
  }
  delete request.headers.authorization;
  request.headers["x-auth-subject"] = claims.sub;
  request.headers["x-auth-username"] = claims.preferred_username;
  request.headers["x-auth-roles"] = claims.roles.join(",");
  request.headers["x-auth-session"] = claims.sid;
  request.headers["x-auth-issuer"] = claims.iss;
  proxy.web(request, response);
});
const server = app.listen(Number(PORT), "127.0.0.1");
server.keepAliveTimeout = 600_000;
