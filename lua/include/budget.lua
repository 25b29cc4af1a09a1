-- budget: the live account of one capacity: windows and quotas, pace, calls in flight, pauses.
--
-- A budget is a hash:
--   def          cmsgpack {version, max_in_flight or -1, {code, period_ms, requests or -1, tokens or -1, pace or -1, burst_ms, meter,
--                share of direct calls, zone, requests and tokens left free for others} …}
--   st           cmsgpack, flat numbers: the head (include recovery), then those of each limit in the order of def (window)
--   v            virtual time of the queues that share it: the start tag last served
--   why, cause   the reason of the last pause, and its cause as recovery.pause takes it
--   <code>:<n>   'requests tokens' booked in sub-bucket n of that limit's window (absent: nothing)
-- A cost is any table with tokens, in_tokens and out_tokens (an entry, a lease); a limit's meter names the one it counts.

local budget = { loaded = {} }

--@include recovery
--@include window
--@include carry
--@include pace
--@include share
--@include hold

local IN_FLIGHT_NET_MS = 5000 -- a freed call promotes its waiter at once; this is only the net below

-- Decode a definition into named limits; each limit knows where its state starts.
local function decode(packed)
  local raw = cmsgpack.unpack(packed)
  local def = { version = raw[1], max_in_flight = raw[2], limits = {} }
  for i = 3, #raw do
    local l = raw[i]
    def.limits[#def.limits + 1] = {
      code = l[1], period_ms = l[2], requests = l[3], tokens = l[4], pace = l[5], burst_ms = l[6], meter = l[7],
      share = l[8] or 0, zone = l[9] or '', others_r = l[10] or 0, others_t = l[11] or 0,
      sub_buckets = l[2] > 0 and l[2] / SUB_MS + 2 or nil, quota = l[2] == 0 and string.match(l[1], '^%u+') or nil,
      at = HEAD + (#def.limits) * WIDTH,
    }
  end
  return def
end

-- Numbers of an earlier version, which kept fewer of each limit.
local function widened(st, limits)
  local before = (#st - HEAD) / limits
  if limits == 0 or before >= WIDTH then return st end
  local wide = { unpack(st, 1, HEAD) }
  for i = 0, limits - 1 do
    for j = 1, WIDTH do wide[HEAD + i * WIDTH + j] = j <= before and st[HEAD + i * before + j] or 0 end
  end
  return wide
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
  def = decode(def)
  b = { id = id, key = hash, def = def, st = widened(cmsgpack.unpack(st), #def.limits), v = tonumber(v or 0), dirty = false, moved = {},
        gone = {}, bucket = math.floor(shard.now / SUB_MS) }
  budget.loaded[id] = b
  for _, limit in ipairs(b.def.limits) do window.slide(b, limit) end
  return b
end

-- The virtual time of the queues that share a budget.
function budget.virtual(id)
  local b = budget.loaded[id]
  return b and b.v or tonumber(redis.call('HGET', key.budget(id), 'v') or 0)
end

-- Somebody joined or left those who wait for it.
function budget.changed_line(id)
  if budget.loaded[id] then budget.loaded[id].first = nil end
end

-- Requests and tokens to leave free beside a request of `tokens`: for direct calls, and for others who use the same key.
-- What leaves no room for the rest goes when it is alone.
function budget.kept(b, limit, tokens, kind)
  local kept_r, kept_t = 0, 0
  if not kind then kept_r, kept_t = share.kept(b, limit, tokens) end
  return math.min(kept_r + limit.others_r, math.max(0, limit.requests - 1)),
         math.min(kept_t + limit.others_t, math.max(0, limit.tokens - tokens))
end

-- How long one request of this cost must wait, in ms: 0 is 'now'; -1: it can never fit. kind: nil of a batch, which
-- leaves free what the share of direct calls asks for; 'direct'; or 'covered' by that share, which goes before the pace.
function budget.wait(b, cost, kind)
  for _, limit in ipairs(b.def.limits) do
    if limit.tokens >= 0 and cost[limit.meter] > limit.tokens then return -1 end
  end
  local wait = recovery.wait(b)
  if b.def.max_in_flight >= 0 and b.st[IN_FLIGHT] >= b.def.max_in_flight then
    wait = math.max(wait, IN_FLIGHT_NET_MS)
  end
  for _, limit in ipairs(b.def.limits) do
    local tokens = cost[limit.meter]
    local kept_r, kept_t = budget.kept(b, limit, tokens, kind)
    wait = math.max(wait, window.wait(b, limit, tokens, kept_r, kept_t), kind == 'covered' and 0 or pace.wait(b, limit))
  end
  -- Times of 10^12 ms as doubles carry errors of 10^-4 ms: those must not turn 'now' into 'in 1 ms', for ever.
  return math.max(0, math.ceil(wait - 0.01))
end

-- About how many requests of this cost fit now (at least 1): how many waiters are worth promoting.
function budget.room(b, cost)
  local st, room = b.st, recovery.room(b)
  if b.def.max_in_flight >= 0 then room = math.min(room, b.def.max_in_flight - st[IN_FLIGHT]) end
  for _, limit in ipairs(b.def.limits) do
    local tokens = math.max(1, cost[limit.meter])
    if limit.requests >= 0 then room = math.min(room, limit.requests - st[limit.at + SUM_R]) end
    if limit.tokens >= 0 then room = math.min(room, (limit.tokens - st[limit.at + SUM_T]) / tokens) end
    room = math.min(room, pace.room(b, limit, tokens))
  end
  return math.max(1, math.floor(room))
end

-- Hold one request of this cost and one call in flight. Answers the pause that it probes, or 0.
function budget.reserve(b, cost)
  for _, limit in ipairs(b.def.limits) do
    window.book(b, limit, b.bucket, 1, cost[limit.meter])
    pace.advance(b, limit, 1, cost[limit.meter])
  end
  b.st[IN_FLIGHT] = b.st[IN_FLIGHT] + 1
  b.dirty = true
  hold.forget(b)
  return recovery.start(b)
end

-- A call left later than it was booked: count it where it was sent.
function budget.move(b, from_bucket, to_bucket, cost)
  for _, limit in ipairs(b.def.limits) do
    window.book(b, limit, from_bucket, -1, -cost[limit.meter])
    window.book(b, limit, math.min(to_bucket, b.bucket), 1, cost[limit.meter])
  end
end

-- A call was never sent: as if it had not been reserved.
function budget.refund(b, bucket, cost)
  b.freed = true
  for _, limit in ipairs(b.def.limits) do
    window.book(b, limit, bucket, -1, -cost[limit.meter])
    pace.advance(b, limit, -1, -cost[limit.meter])
  end
end

-- Replace what was reserved by what was charged: less goes back into its own sub-bucket, more is booked now.
function budget.charge(b, bucket, reserved, charged)
  for _, limit in ipairs(b.def.limits) do
    local more = charged[limit.meter] - reserved[limit.meter]
    if more ~= 0 then
      if more < 0 then b.freed = true end
      window.book(b, limit, more < 0 and bucket or b.bucket, 0, more)
      pace.advance(b, limit, 0, more)
    end
  end
end

-- A call is no longer in flight. probed: the pause that it probed, or 0. Answers true when a waiter may go on for it.
function budget.land(b, probed, answered)
  b.st[IN_FLIGHT] = math.max(0, b.st[IN_FLIGHT] - 1)
  b.dirty = true
  local freed, recovered = recovery.land(b, probed, answered)
  if recovered then pace.spend_burst(b) end
  return freed or b.freed or b.def.max_in_flight >= 0
end

-- Nothing passes for pause_ms, then one probe at a time until one is answered. cause: as recovery.pause takes it. Of
-- pauses that overlap the one that lasts longest says why.
function budget.pause(b, pause_ms, why, cause)
  if b.st[PAUSED_UNTIL] <= shard.now + pause_ms then
    redis.call('HSET', b.key, 'why', why, 'cause', cause)
    b.cause = cause
  end
  local load = #b.def.limits == 0 and 1 or 0
  for _, limit in ipairs(b.def.limits) do load = math.max(load, window.load(b, limit)) end
  return recovery.pause(b, pause_ms, cause, load)
end

-- Nothing passes, or only a probe, and not for a limit: it cannot be reached, or does not work. Fallbacks serve then.
function budget.shut(b)
  if b.st[PAUSED_UNTIL] <= shard.now and b.st[RECOVERING] == 0 then return false end
  b.cause = b.cause or redis.call('HGET', b.key, 'cause') or 'limit'
  return b.cause == ''
end

-- The account as a flat reply:
-- {id, in_flight, max_in_flight, paused_ms, why, waiting, {code, meter, limit, used, limit, used, …}}.
function budget.report(b)
  local limits = {}
  for _, limit in ipairs(b.def.limits) do
    for _, value in ipairs({ limit.code, limit.meter, limit.requests, b.st[limit.at + SUM_R], limit.tokens,
                             b.st[limit.at + SUM_T] }) do
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
          args[#args + 1] = window.field(limit.code, b.bucket)
          args[#args + 1] = b.st[limit.at + CUR_R] .. ' ' .. b.st[limit.at + CUR_T]
        else
          redis.call('SADD', key.quotas_changed, b.id)
        end
      end
      for name, delta in pairs(b.moved) do
        local requests, tokens = window.parse(redis.call('HGET', b.key, name))
        args[#args + 1] = name
        args[#args + 1] = (requests + delta[1]) .. ' ' .. (tokens + delta[2])
      end
      if #b.gone > 0 then redis.call('HDEL', b.key, unpack(b.gone)) end
      redis.call('HSET', b.key, unpack(args))
      b.moved, b.gone, b.dirty = {}, {}, false
      budget.fade(b)
    end
  end
end

-- Accounts of caller addresses are many: one that is not used for as long as it may count is forgotten.
function budget.fade(b)
  if string.sub(b.id, 1, 8) ~= 'address-' then return end
  local days = 2
  for _, limit in ipairs(b.def.limits) do
    if limit.quota == 'W' or limit.quota == 'MO' or limit.quota == 'L' then days = 40 end
  end
  redis.call('EXPIRE', b.key, days * 86400)
end

-- What a budget of a part of a connection (what was learned of a model) begins with: as much as the connection has booked,
-- for some of it was the part's. Begun empty it would take that for the use of others.
function budget.inherited(id, connection)
  local copied, head = {}, recovery.head()
  for _, limit in ipairs(connection.def.limits) do
    for _, name in ipairs(window.fields(connection.st, limit)) do
      local value = redis.call('HGET', connection.key, name)
      if value then copied[#copied + 1], copied[#copied + 2] = name, value end
    end
  end
  if #copied > 0 then redis.call('HSET', key.budget(id), unpack(copied)) end
  local past = { st = {}, def = connection.def, v = 0 }
  for i, value in ipairs(connection.st) do past.st[i] = i <= #head and head[i] or value end
  return past
end

-- Write a definition, keeping what was booked for the same periods. spent: a budget without a past is all used up.
function budget.define(id, packed, known, spent)
  local def = decode(packed)
  local now_bucket = math.floor(shard.now / SUB_MS)
  local st = recovery.head()
  local hash, stays = key.budget(id), {}
  for _, limit in ipairs(def.limits) do stays[limit.code] = true end
  if known then
    for i = 1, HEAD do st[i] = known.st[i] end
    -- The sub-buckets of a limit that goes must not be met by one of the same period that comes later.
    local gone = {}
    for _, limit in ipairs(known.def.limits) do
      for _, name in ipairs(stays[limit.code] and {} or window.fields(known.st, limit)) do
        gone[#gone + 1] = name
        if known.moved then known.moved[name] = nil end
      end
    end
    if #gone > 0 then redis.call('HDEL', hash, unpack(gone)) end
  end
  for _, limit in ipairs(def.limits) do
    local kept
    for _, before in ipairs(known and known.def.limits or {}) do
      if before.code == limit.code then kept = before end
    end
    for i = 1, WIDTH do st[limit.at + i] = kept and known.st[kept.at + i] or 0 end
    if known and not kept then st[limit.at + SINCE] = now_bucket + 1 end
    if not kept then window.fresh(st, limit, now_bucket, spent) end
    if limit.quota and kept and kept.zone ~= limit.zone then carry.zone(st, limit, now_bucket) end
    -- Not from the account of a connection, which a model's may begin with.
    if limit.quota and not kept and known and known.id == id then carry.meter(st, limit, known, stays) end
  end
  redis.call('HSET', hash, 'def', packed)
  redis.call('PERSIST', hash)
  -- What was booked in earlier sub-buckets in this call is in the sums already, so it must be written there too.
  budget.loaded[id] = { id = id, key = hash, def = def, st = st, v = known and known.v or 0, dirty = true,
                        moved = known and known.moved or {}, gone = known and known.gone or {}, bucket = now_bucket }
  pace.redefine(budget.loaded[id])
end
