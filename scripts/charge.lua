-- A load of charges for wrk: every request has a key of its own, every reply must be a 200.
--
--   wrk -t2 -c64 -d30s -s scripts/charge.lua http://127.0.0.1:8080
--
-- LEDGER_RUN (default: the time) makes the keys of one run different from another's; LEDGER_USERS (default 1000000) is
-- how many accounts the charges are drawn from.

local threads = {}

function setup(thread)
    thread:set("number", #threads)
    table.insert(threads, thread)
end

function init()
    run = os.getenv("LEDGER_RUN") or tostring(os.time())
    users = tonumber(os.getenv("LEDGER_USERS") or "1000000")
    sent, wrong = 0, 0
    first_wrong = ""
    math.randomseed(number + 1)
    wrk.method = "POST"
    wrk.path = "/charge"
    wrk.headers["Content-Type"] = "application/json"
end

function request()
    sent = sent + 1
    local body = string.format('{"user_id":%d,"amount":%d,"idempotency_key":"%s-%d-%d"}',
        math.random(users), math.random(10000), run, number, sent)
    return wrk.format(nil, nil, nil, body)
end

function response(status, _, body)
    if status ~= 200 then
        wrong = wrong + 1
        if first_wrong == "" then first_wrong = status .. " " .. body end
    end
end

function done(summary, latency, _)
    local wrong, example = 0, ""
    for _, thread in ipairs(threads) do
        wrong = wrong + thread:get("wrong")
        if thread:get("first_wrong") ~= "" then example = thread:get("first_wrong") end
    end
    local broken = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
    print(string.format("replies: %d, not 200: %d, broken connections: %d", summary.requests, wrong, broken))
    print(string.format("latency in ms: p50 %.2f  p99 %.2f  p99.9 %.2f  max %.2f", latency:percentile(50) / 1000,
        latency:percentile(99) / 1000, latency:percentile(99.9) / 1000, latency.max / 1000))
    if example ~= "" then print("for example: " .. example) end
end
