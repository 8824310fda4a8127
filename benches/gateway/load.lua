-- The load of `run.py`, for wrk: keep-alive requests that cycle through the tokens in the file named by
-- BENCH_TOKENS (none: no Authorization header), and a result in JSON as the last line.

local requests = {}
local at = 0

function init()
    local file = os.getenv("BENCH_TOKENS")
    if file then
        for token in io.lines(file) do
            requests[#requests + 1] = wrk.format("GET", wrk.path, { Host = wrk.headers["Host"], Authorization = "Bearer " .. token })
        end
    else
        requests[1] = wrk.format("GET")
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '{"requests": %d, "micros": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        e.status, e.connect + e.read + e.write + e.timeout))
end
