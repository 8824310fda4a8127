-- What one writes by hand today instead of a gateway: nginx checks an HS256 token and asks Redis whether its jti
-- is revoked, then hands the identity on. The peer of `run.py`.
--
-- Debian has neither lua-resty-jwt nor lua-resty-redis, so this does what they do with what nginx's Lua module
-- brings: HMAC from the libcrypto that nginx itself is linked to (through the FFI, as lua-resty-openssl does),
-- cosockets with a keep-alive pool for Redis. It is the cheapest form that is still correct: the HMAC key is
-- set up once per worker, and Redis is asked about one key only, where the gateway asks about four.

local ffi = require "ffi"
local cjson = require "cjson.safe"
local base64 = require "ngx.base64"

ffi.cdef [[
typedef struct evp_md_st EVP_MD;
typedef struct hmac_ctx_st HMAC_CTX;
const EVP_MD *EVP_sha256(void);
HMAC_CTX *HMAC_CTX_new(void);
int HMAC_Init_ex(HMAC_CTX *ctx, const void *key, int key_len, const EVP_MD *md, void *engine);
int HMAC_Update(HMAC_CTX *ctx, const unsigned char *data, size_t len);
int HMAC_Final(HMAC_CTX *ctx, unsigned char *md, unsigned int *len);
]]

local C = ffi.C
local digest = ffi.new("unsigned char[32]")
local digest_len = ffi.new("unsigned int[1]")
local hmac, settings

local M = {}

-- `secret`, `issuer`, `audience`, `redis_host`, `redis_port`.
function M.init(with)
    settings = with
    hmac = C.HMAC_CTX_new()
    assert(C.HMAC_Init_ex(hmac, with.secret, #with.secret, C.EVP_sha256(), nil) == 1)
end

local function refuse(status, challenge)
    if challenge then
        ngx.header["WWW-Authenticate"] = challenge
    end
    return ngx.exit(status)
end

local function signature_of(signed)
    -- Without a key, the context starts over with the one it has.
    C.HMAC_Init_ex(hmac, nil, 0, nil, nil)
    C.HMAC_Update(hmac, signed, #signed)
    C.HMAC_Final(hmac, digest, digest_len)
    return ffi.string(digest, 32)
end

-- Equal time for every signature of the right length.
local function same(a, b)
    if #a ~= #b then
        return false
    end
    local different = 0
    for i = 1, #a do
        different = bit.bor(different, bit.bxor(a:byte(i), b:byte(i)))
    end
    return different == 0
end

local function verify(token)
    local head, body, tag = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    if not head then
        return nil
    end
    local header = cjson.decode(base64.decode_base64url(head) or "")
    if type(header) ~= "table" or header.alg ~= "HS256" then
        return nil
    end
    local given = base64.decode_base64url(tag)
    if not given or not same(given, signature_of(head .. "." .. body)) then
        return nil
    end
    local claims = cjson.decode(base64.decode_base64url(body) or "")
    if type(claims) ~= "table" or claims.iss ~= settings.issuer or claims.aud ~= settings.audience then
        return nil
    end
    if type(claims.exp) ~= "number" or claims.exp <= ngx.time() or type(claims.jti) ~= "string" then
        return nil
    end
    return claims
end

-- true, false, or nil when Redis does not say.
local function revoked(jti)
    local redis = ngx.socket.tcp()
    redis:settimeouts(1000, 1000, 1000)
    if not redis:connect(settings.redis_host, settings.redis_port) then
        return nil
    end
    local key = "revoked_jti:" .. jti
    if not redis:send({ "*2\r\n$6\r\nEXISTS\r\n$", #key, "\r\n", key, "\r\n" }) then
        return nil
    end
    local answer = redis:receive()
    redis:setkeepalive(60000, 256)
    if answer == ":0" then
        return false
    elseif answer == ":1" then
        return true
    end
    return nil
end

-- For `access_by_lua_block`.
function M.check()
    local authorization = ngx.var.http_authorization
    if not authorization then
        return refuse(401, "Bearer")
    end
    local claims = verify(authorization:match("^Bearer (.+)$") or "")
    if not claims then
        return refuse(401, 'Bearer error="invalid_token"')
    end
    local verdict = revoked(claims.jti)
    if verdict == nil then
        return refuse(503)
    elseif verdict then
        return refuse(401, 'Bearer error="invalid_token"')
    end
    ngx.req.clear_header("Authorization")
    ngx.req.set_header("X-Auth-Subject", claims.sub)
    ngx.req.set_header("X-Auth-Username", claims.preferred_username)
    ngx.req.set_header("X-Auth-Roles", table.concat(claims.roles, ","))
    ngx.req.set_header("X-Auth-Session", claims.sid)
    ngx.req.set_header("X-Auth-Issuer", claims.iss)
end

return M
