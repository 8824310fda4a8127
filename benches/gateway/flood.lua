-- A flood of logins for wrk: names that nobody has, each of which costs the gateway a hash like any other.

local at = 0

function request()
    at = at + 1
    local body = string.format('{"username":"nobody-%d","password":"not the password of anybody"}', at)
    return wrk.format("POST", "/auth/login", { Host = wrk.headers["Host"], ["Content-Type"] = "application/json" }, body)
end
