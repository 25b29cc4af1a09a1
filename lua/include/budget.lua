-- budget: the live account of one capacity: sliding windows, pace, quotas, calls in flight, pauses.
--
-- A budget is a hash:
--   def          cmsgpack {version, max_in_flight or -1, {code, period_ms, requests or -1, tokens or -1, pace or -1, burst_ms} …}
--   st           cmsgpack, flat numbers: the head (4), then 9 per limit in the order of def
--   v            virtual time of the queues that share it: the start tag last served
--   why          the reason of the last pause
--   <code>:<n>   'requests tokens' booked in sub-bucket n of that limit's window (absent: nothing)
-- Sub-bucket n spans [n, n + 1) × 250 ms. A window of P ms counts P / 250 + 2 sub-buckets: the present one, those that
-- cover P, and one of guard, so two calls counted apart arrive more than P apart although one was up to 250 ms slower.

--@include period

local budget = { loaded = {} }

local SUB_MS = 250
local HEAD = 4
local IN_FLIGHT, PAUSED_UNTIL, RECOVERING, PROBE_UNTIL = 1, 2, 3, 4
local WIDTH = 9 -- per limit:
local CUR, CUR_R, CUR_T, OLDEST, SUM_R, SUM_T, TAT_R, TAT_T, SINCE = 1, 2, 3, 4, 5, 6, 7, 8, 9
local IN_FLIGHT_NET_MS = 5000 -- a freed call promotes its waiter at once; this is only the net below
local PROBE_MS = 30000 -- a probe that stays silent for so long lets another one through

local function field(code, bucket) return code .. ':' .. string.format('%d', bucket) end

local function parse(value)
  if not value then return 0, 0 end
  local requests, tokens = string.match(value, '^(%S+) (%S+)$')
  return tonumber(requests), tonumber(tokens)
end

-- Let what is older than the window slide out of the sums.
local function slide(b, limit, at)
  local st, now_bucket = b.st, b.bucket
  if limit.sub_buckets == nil then
    local index = quota_index(limit.code, shard.now)
    if st[at + CUR] ~= index then
      st[at + CUR], st[at + SUM_R], st[at + SUM_T] = index, 0, 0
      b.dirty = true
    end
    return
  end
  if st[at + CUR] == now_bucket then return end
  local last, lowest = st[at + CUR], now_bucket - limit.sub_buckets + 1
  local oldest = st[at + OLDEST]
  if oldest < lowest then
    local gone = {}
    for bucket = oldest, math.min(lowest - 1, last) do gone[#gone + 1] = field(limit.code, bucket) end
    if #gone > 0 then
      for _, value in ipairs(redis.call('HMGET', b.key, unpack(gone))) do
        local requests, tokens = parse(value)
        st[at + SUM_R] = st[at + SUM_R] - requests
        st[at + SUM_T] = st[at + SUM_T] - tokens
      end
      redis.call('HDEL', b.key, unpack(gone))
    end
    st[at + OLDEST] = lowest
  end
  st[at + CUR], st[at + CUR_R], st[at + CUR_T] = now_bucket, 0, 0
  b.dirty = true
end

-- Decode a definition into named limits; each limit knows where its state starts.
local function decode(packed)
  local raw = cmsgpack.unpack(packed)
  local def = { version = raw[1], max_in_flight = raw[2], limits = {} }
  for i = 3, #raw do
    local l = raw[i]
    def.limits[#def.limits + 1] = {
      code = l[1], period_ms = l[2], requests = l[3], tokens = l[4], pace = l[5], burst_ms = l[6],
      sub_buckets = l[2] > 0 and l[2] / SUB_MS + 2 or nil,
      at = HEAD + (#def.limits) * WIDTH,
    }
  end
  return def
end

-- The budget, slid to now; nil when it is not defined (it then admits nothing: a limit that is not known yet must
-- not be exceeded meanwhile). Loaded once per script.
function budget.load(id)
  local b = budget.loaded[id]
  if b ~= nil then return b or nil end
  local hash = key.budget(id)
  local def, st, v = unpack(redis.call('HMGET', hash, 'def', 'st', 'v'))
  if not def then
    budget.loaded[id] = false
    return nil
  end
  b = { id = id, key = hash, def = decode(def), st = cmsgpack.unpack(st), v = tonumber(v or 0), dirty = false, moved = {},
        bucket = math.floor(shard.now / SUB_MS) }
  budget.loaded[id] = b
  for _, limit in ipairs(b.def.limits) do slide(b, limit, limit.at) end
  return b
end

-- The virtual time of the queues that share a budget.
function budget.virtual(id)
  local b = budget.loaded[id]
  return b and b.v or tonumber(redis.call('HGET', key.budget(id), 'v') or 0)
end

-- The pace of one dimension: ms that one unit takes.
local function unit_ms(limit, amount) return limit.period_ms / (limit.pace * amount) end

-- Delay of a window until `units` more fit: walk the sub-buckets from the oldest until enough has slid out.
local function window_wait(b, limit, units_r, units_t)
  local st, at = b.st, limit.at
  local need_r = limit.requests >= 0 and st[at + SUM_R] + units_r - limit.requests or 0
  local need_t = limit.tokens >= 0 and st[at + SUM_T] + units_t - limit.tokens or 0
  if need_r <= 0 and need_t <= 0 then return 0 end
  if limit.sub_buckets == nil then
    if limit.code == 'L' then return DAY_MS end
    return math.min(DAY_MS, limit.code == 'H' and 3600000 - shard.now % 3600000 or DAY_MS - shard.now % DAY_MS)
  end
  local key_of = 'counts' .. limit.code
  local counts = b[key_of]
  local oldest, now_bucket = math.max(st[at + OLDEST], b.bucket - limit.sub_buckets + 1), b.bucket
  if not counts then
    local fields = {}
    for bucket = oldest, now_bucket - 1 do fields[#fields + 1] = field(limit.code, bucket) end
    counts = #fields > 0 and redis.call('HMGET', b.key, unpack(fields)) or {}
    b[key_of] = counts
  end
  for i = 1, #counts do
    local requests, tokens = parse(counts[i])
    need_r, need_t = need_r - requests, need_t - tokens
    if need_r <= 0 and need_t <= 0 then return (oldest + i - 1 + limit.sub_buckets) * SUB_MS - shard.now end
  end
  return (now_bucket + limit.sub_buckets) * SUB_MS - shard.now
end

local function pace_wait(now, tat, cost_ms, burst_ms)
  return math.max(tat - now, 0) + cost_ms - math.max(burst_ms, cost_ms)
end

-- How long one request of `tokens` must wait, in ms: 0 is 'now'; -1: it can never fit.
function budget.wait(b, tokens)
  local st, now = b.st, shard.now
  for _, limit in ipairs(b.def.limits) do
    if limit.tokens >= 0 and tokens > limit.tokens then return -1 end
  end
  local wait = 0
  if st[PAUSED_UNTIL] > now then
    wait = st[PAUSED_UNTIL] - now
  elseif st[RECOVERING] == 1 and st[PROBE_UNTIL] > now then
    wait = st[PROBE_UNTIL] - now
  end
  if b.def.max_in_flight >= 0 and st[IN_FLIGHT] >= b.def.max_in_flight then
    wait = math.max(wait, IN_FLIGHT_NET_MS)
  end
  for _, limit in ipairs(b.def.limits) do
    local at = limit.at
    local blocked = window_wait(b, limit, 1, tokens)
    if limit.pace > 0 then
      if limit.requests > 0 then
        blocked = math.max(blocked, pace_wait(now, st[at + TAT_R], unit_ms(limit, limit.requests), limit.burst_ms))
      end
      if limit.tokens > 0 then
        blocked = math.max(blocked,
          pace_wait(now, st[at + TAT_T], tokens * unit_ms(limit, limit.tokens), limit.burst_ms))
      end
    end
    if blocked > wait then wait = blocked end
  end
  -- Times of 10^12 ms as doubles carry errors of 10^-4 ms: those must not turn 'now' into 'in 1 ms', for ever.
  return math.max(0, math.ceil(wait - 0.01))
end

-- About how many requests of `tokens` fit now (at least 1): how many waiters are worth promoting.
function budget.room(b, tokens)
  local st, now, room = b.st, shard.now, 128
  if b.def.max_in_flight >= 0 then room = math.min(room, b.def.max_in_flight - st[IN_FLIGHT]) end
  if st[RECOVERING] == 1 then room = math.min(room, 1) end
  for _, limit in ipairs(b.def.limits) do
    local at = limit.at
    local requests, free = limit.requests, limit.tokens
    if requests >= 0 then
      room = math.min(room, requests - st[at + SUM_R])
      if limit.pace > 0 then
        room = math.min(room, (now + limit.burst_ms - math.max(st[at + TAT_R], now)) / unit_ms(limit, requests))
      end
    end
    if free >= 0 then
      room = math.min(room, (free - st[at + SUM_T]) / tokens)
      if limit.pace > 0 then
        room = math.min(room,
          (now + limit.burst_ms - math.max(st[at + TAT_T], now)) / (unit_ms(limit, free) * tokens))
      end
    end
  end
  return math.max(1, math.floor(room))
end

-- A limit that was added after a call was booked knows nothing of it: it must not give back what it never took.
local function took(b, limit, bucket, requests, tokens)
  return requests + tokens >= 0 or bucket >= b.st[limit.at + SINCE]
end

-- Book requests and tokens in the present; negative amounts give back what was booked in this same sub-bucket.
local function book(b, requests, tokens)
  local st = b.st
  for _, limit in ipairs(b.def.limits) do
    local at = limit.at
    if took(b, limit, b.bucket, requests, tokens) then
      st[at + SUM_R], st[at + SUM_T] = st[at + SUM_R] + requests, st[at + SUM_T] + tokens
      if limit.sub_buckets then
        st[at + CUR_R], st[at + CUR_T] = st[at + CUR_R] + requests, st[at + CUR_T] + tokens
      end
    end
  end
  b.dirty = true
end

-- Move the pace by requests and tokens (negative: give back).
local function advance(b, requests, tokens)
  local st, now = b.st, shard.now
  for _, limit in ipairs(b.def.limits) do
    local at = limit.at
    if limit.pace > 0 then
      if limit.requests > 0 then
        st[at + TAT_R] = math.max(st[at + TAT_R], now) + requests * unit_ms(limit, limit.requests)
      end
      if limit.tokens > 0 then
        st[at + TAT_T] = math.max(st[at + TAT_T], now) + tokens * unit_ms(limit, limit.tokens)
      end
    end
  end
end

-- Hold one request of `tokens` and one call in flight. Answers true when it is the probe of a recovering budget.
function budget.reserve(b, tokens)
  local st = b.st
  book(b, 1, tokens)
  advance(b, 1, tokens)
  st[IN_FLIGHT] = st[IN_FLIGHT] + 1
  if st[RECOVERING] == 1 then
    st[PROBE_UNTIL] = shard.now + PROBE_MS
    return true
  end
  return false
end

-- Book an amount in the sub-bucket that it belongs to. What has slid out of a window is no longer counted there.
local function book_at(b, bucket, requests, tokens)
  if bucket >= b.bucket then return book(b, requests, tokens) end
  local st = b.st
  for _, limit in ipairs(b.def.limits) do
    local at = limit.at
    local counted = took(b, limit, bucket, requests, tokens)
    if limit.sub_buckets == nil then
      if counted and quota_index(limit.code, bucket * SUB_MS) == st[at + CUR] then
        st[at + SUM_R], st[at + SUM_T] = st[at + SUM_R] + requests, st[at + SUM_T] + tokens
      end
    elseif counted and bucket > b.bucket - limit.sub_buckets then
      st[at + SUM_R], st[at + SUM_T] = st[at + SUM_R] + requests, st[at + SUM_T] + tokens
      if bucket < st[at + OLDEST] then st[at + OLDEST] = bucket end
      local name = field(limit.code, bucket)
      local moved = b.moved[name] or { 0, 0 }
      moved[1], moved[2] = moved[1] + requests, moved[2] + tokens
      b.moved[name] = moved
      b['counts' .. limit.code] = nil
    end
  end
  b.dirty = true
end

-- A call left later than it was booked: count it where it was sent.
function budget.move(b, from_bucket, to_bucket, tokens)
  book_at(b, from_bucket, -1, -tokens)
  book_at(b, math.min(to_bucket, b.bucket), 1, tokens)
end

-- A call was never sent: as if it had not been reserved.
function budget.refund(b, bucket, tokens)
  b.freed = true
  book_at(b, bucket, -1, -tokens)
  advance(b, -1, -tokens)
end

-- Replace the reserved tokens by what was charged: less goes back into its own sub-bucket, more is booked now.
function budget.charge(b, bucket, reserved, charged)
  if charged < reserved then
    b.freed = true
    book_at(b, bucket, 0, charged - reserved)
    advance(b, 0, charged - reserved)
  elseif charged > reserved then
    book(b, 0, charged - reserved)
    advance(b, 0, charged - reserved)
  end
end

-- A call is no longer in flight. was_probe with answered: the budget has recovered.
function budget.land(b, was_probe, answered)
  local st = b.st
  st[IN_FLIGHT] = math.max(0, st[IN_FLIGHT] - 1)
  if was_probe then
    st[PROBE_UNTIL] = 0
    if answered then st[RECOVERING] = 0 end
  end
  b.dirty = true
end

-- Nothing passes for pause_ms, then one probe at a time until one is answered.
function budget.pause(b, pause_ms, why)
  local st = b.st
  st[PAUSED_UNTIL] = math.max(st[PAUSED_UNTIL], shard.now + pause_ms)
  st[RECOVERING], st[PROBE_UNTIL] = 1, 0
  b.dirty = true
  redis.call('HSET', b.key, 'why', why)
  return st[PAUSED_UNTIL]
end

-- The account as a flat reply: {id, in_flight, max_in_flight, paused_ms, why, waiting, {code, limit, used, limit, used, …}}.
function budget.report(b)
  local limits = {}
  for _, limit in ipairs(b.def.limits) do
    for _, value in ipairs({ limit.code, limit.requests, b.st[limit.at + SUM_R], limit.tokens, b.st[limit.at + SUM_T] }) do
      limits[#limits + 1] = value
    end
  end
  local why = redis.call('HGET', b.key, 'why') or ''
  return { b.id, b.st[IN_FLIGHT], b.def.max_in_flight, math.max(0, b.st[PAUSED_UNTIL] - shard.now), why,
           redis.call('ZCARD', key.waiting(b.id)), limits }
end

-- Write every budget that changed, once.
function budget.save()
  for _, b in pairs(budget.loaded) do
    if b and b.dirty then
      local args = { 'st', cmsgpack.pack(b.st), 'v', b.v }
      for _, limit in ipairs(b.def.limits) do
        if limit.sub_buckets then
          args[#args + 1] = field(limit.code, b.bucket)
          args[#args + 1] = b.st[limit.at + CUR_R] .. ' ' .. b.st[limit.at + CUR_T]
        end
      end
      for name, delta in pairs(b.moved) do
        local requests, tokens = parse(redis.call('HGET', b.key, name))
        args[#args + 1] = name
        args[#args + 1] = (requests + delta[1]) .. ' ' .. (tokens + delta[2])
      end
      b.moved = {}
      b.dirty = false
      redis.call('HSET', b.key, unpack(args))
    end
  end
end

-- Write a definition, keeping what was booked for the same periods. spent: a budget without a past is all used up.
function budget.define(id, packed, known, spent)
  local def = decode(packed)
  local now_bucket = math.floor(shard.now / SUB_MS)
  local st = { 0, 0, 0, 0 }
  local hash = key.budget(id)
  if known then
    for i = 1, HEAD do st[i] = known.st[i] end
    -- The sub-buckets of a limit that goes must not be met by one of the same period that comes later.
    local stays, gone = {}, {}
    for _, limit in ipairs(def.limits) do stays[limit.code] = true end
    for _, limit in ipairs(known.def.limits) do
      if limit.sub_buckets and not stays[limit.code] then
        for bucket = known.st[limit.at + OLDEST], known.st[limit.at + CUR] do
          gone[#gone + 1] = field(limit.code, bucket)
        end
      end
    end
    if #gone > 0 then redis.call('HDEL', hash, unpack(gone)) end
  end
  for _, limit in ipairs(def.limits) do
    local at, kept = limit.at, nil
    if known then
      for _, before in ipairs(known.def.limits) do
        if before.code == limit.code then kept = before end
      end
    end
    for i = 1, WIDTH do st[at + i] = kept and known.st[kept.at + i] or 0 end
    if known and not kept then st[at + SINCE] = now_bucket + 1 end
    if not kept and limit.sub_buckets then
      st[at + CUR], st[at + OLDEST] = now_bucket, now_bucket
      if spent then
        local requests, tokens = math.max(0, limit.requests), math.max(0, limit.tokens)
        st[at + CUR_R], st[at + SUM_R] = requests, requests
        st[at + CUR_T], st[at + SUM_T] = tokens, tokens
      end
    elseif not kept then
      st[at + CUR] = quota_index(limit.code, shard.now)
    end
  end
  redis.call('HSET', hash, 'def', packed)
  redis.call('PERSIST', hash)
  budget.loaded[id] = { id = id, key = hash, def = def, st = st, v = known and known.v or 0, dirty = true, moved = {},
                        bucket = now_bucket }
end
