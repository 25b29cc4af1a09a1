-- presumption: what a budget assumes of the time before a loss of Redis that its own books do not tell.

local presumption = {}

local LOST_MS = 2000 -- an append-only file lacks its last second at most, and a replica not much more

-- Book what may have been sent and forgotten: with a pace its burst and two seconds of it, else all that is left.
function presumption.book(b)
  for _, limit in ipairs(b.def.limits) do
    if limit.sub_buckets then
      local requests = limit.requests >= 0 and math.max(0, limit.requests - b.st[limit.at + SUM_R]) or 0
      local tokens = limit.tokens >= 0 and math.max(0, limit.tokens - b.st[limit.at + SUM_T]) or 0
      if limit.pace > 0 then
        local share = limit.pace * (limit.burst_ms + LOST_MS) / limit.period_ms
        requests = math.min(requests, math.ceil(share * math.max(0, limit.requests)))
        tokens = math.min(tokens, math.ceil(share * math.max(0, limit.tokens)))
      end
      window.book(b, limit, b.bucket, requests, tokens)
    end
  end
  pace.spend_burst(b)
  b.dirty = true
end
