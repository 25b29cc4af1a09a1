-- share: the part of a connection's sliding limits that is kept for direct calls.
--
-- A limit's share is a rate of its own: SHARE_R and SHARE_T are how far the direct calls that it covered reach into the
-- future at that rate (as in pace). A covered call does not wait for the pace, but moves it: batches get what is left, so
-- what is not used is lent to them. They only leave free in the window what the share may ask for at once; SHARE_MOST is
-- the size of a large direct call, for limits of tokens.

local share = {}

local SHARE_R, SHARE_T, SHARE_MOST = 10, 11, 12
local SHARE_BURSTS = 10 -- so many bursts of its rate may be asked for at once
local SHARE_FORGETS = 0.98 -- a large call is remembered for some dozens of others

-- The share of a budget: what was learned of a model keeps the same part as its connection.
function share.of(b)
  for _, limit in ipairs(b and b.def.limits or {}) do
    if limit.share > 0 then return limit.share end
  end
  return 0
end

local function shared(limit) return limit.share > 0 and limit.pace > 0 and limit.sub_buckets ~= nil end

local function share_burst_ms(b, limit) return math.min(limit.period_ms, SHARE_BURSTS * burst_ms(b, limit)) end

local function share_debt_ms(b, limit, which) return math.max(0, b.st[limit.at + which] - shard.now) end

-- What a batch's call of `tokens` must leave free in the window: requests, tokens.
function share.kept(b, limit, tokens)
  if not shared(limit) then return 0, 0 end
  local burst, kept_r, kept_t = share_burst_ms(b, limit), 0, 0
  local free_r = burst - share_debt_ms(b, limit, SHARE_R)
  if limit.requests > 0 and free_r > 0 then
    kept_r = math.ceil(limit.share * limit.requests * free_r / limit.period_ms)
  end
  local free_t = burst - share_debt_ms(b, limit, SHARE_T)
  if limit.tokens > 0 and free_t > 0 then
    local most = math.min(b.st[limit.at + SHARE_MOST], limit.share * limit.tokens)
    kept_t = math.max(limit.share * limit.tokens * free_t / limit.period_ms, most)
  end
  -- A call that leaves no room beside it would wait for ever: it goes when it is alone.
  return math.min(kept_r, math.max(0, limit.requests - 1)), math.min(kept_t, math.max(0, limit.tokens - tokens))
end

-- Whether a direct call is within the share of every limit that is paced.
function share.covers(b)
  local any = false
  for _, limit in ipairs(b.def.limits) do
    if shared(limit) then
      any = true
      local burst = share_burst_ms(b, limit)
      if limit.requests > 0 and share_debt_ms(b, limit, SHARE_R) > burst then return false end
      if limit.tokens > 0 and share_debt_ms(b, limit, SHARE_T) > burst then return false end
    elseif limit.pace > 0 then
      return false
    end
  end
  return any
end

-- A covered call uses its share (times: 1), or gives it back (times: -1).
function share.use(b, cost, times)
  for _, limit in ipairs(b.def.limits) do
    if shared(limit) then
      local st, at, tokens = b.st, limit.at, cost[limit.meter]
      if limit.requests > 0 then
        local cost_ms = unit_ms(b, limit, limit.requests) / limit.share
        st[at + SHARE_R] = math.max(st[at + SHARE_R], shard.now) + times * cost_ms
      end
      if limit.tokens > 0 then
        local cost_ms = tokens * unit_ms(b, limit, limit.tokens) / limit.share
        st[at + SHARE_T] = math.max(st[at + SHARE_T], shard.now) + times * cost_ms
        if times > 0 then st[at + SHARE_MOST] = math.max(tokens, SHARE_FORGETS * st[at + SHARE_MOST]) end
      end
    end
  end
  b.dirty = true
end
