-- window: what a limit counts: a sliding window in sub-buckets, or the aligned period of a quota.
--
-- Sub-bucket n spans [n, n + 1) × 250 ms. A window of P ms counts P / 250 + 2 sub-buckets: the present one, those that
-- cover P, and one of guard, so two calls counted apart arrive more than P apart although one was up to 250 ms slower.
-- Its state lies in the budget's st, from limit.at on; the sub-buckets are fields '<code>:<n>' of the budget's hash.

--@include period

local window = {}

local SUB_MS = 250
local WIDTH = 13 -- per limit (10 … 12: include share; 13: include pace):
local CUR, CUR_R, CUR_T, OLDEST, SUM_R, SUM_T, TAT_R, TAT_T, SINCE = 1, 2, 3, 4, 5, 6, 7, 8, 9

function window.field(code, bucket) return code .. ':' .. string.format('%d', bucket) end

function window.parse(value)
  if not value then return 0, 0 end
  local requests, tokens = string.match(value, '^(%S+) (%S+)$')
  return tonumber(requests), tonumber(tokens)
end

-- Let what is older than the window slide out of the sums.
function window.slide(b, limit)
  local st, at, now_bucket = b.st, limit.at, b.bucket
  if limit.sub_buckets == nil then
    local index = quota_index(limit.quota, shard.now, limit.zone)
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
    for bucket = oldest, math.min(lowest - 1, last) do gone[#gone + 1] = window.field(limit.code, bucket) end
    if #gone > 0 then
      for _, value in ipairs(redis.call('HMGET', b.key, unpack(gone))) do
        local requests, tokens = window.parse(value)
        st[at + SUM_R] = st[at + SUM_R] - requests
        st[at + SUM_T] = st[at + SUM_T] - tokens
      end
      -- Deleted with the sums that they left: a script that does not save leaves both as they were.
      for _, name in ipairs(gone) do b.gone[#b.gone + 1] = name end
    end
    st[at + OLDEST] = lowest
  end
  st[at + CUR], st[at + CUR_R], st[at + CUR_T] = now_bucket, 0, 0
  b.dirty = true
end

-- What the sub-buckets before the present one hold, oldest first: {first bucket, {requests …}, {tokens …}}.
local function history(b, limit)
  local name = 'counts' .. limit.code
  if b[name] then return b[name] end
  local oldest = math.max(b.st[limit.at + OLDEST], b.bucket - limit.sub_buckets + 1)
  local fields, requests, tokens = {}, {}, {}
  for bucket = oldest, b.bucket - 1 do fields[#fields + 1] = window.field(limit.code, bucket) end
  for i, value in ipairs(#fields > 0 and redis.call('HMGET', b.key, unpack(fields)) or {}) do
    requests[i], tokens[i] = window.parse(value)
  end
  b[name] = { oldest = oldest, requests = requests, tokens = tokens }
  return b[name]
end

-- How much of a sliding limit is in use: 0 … 1.
function window.load(b, limit)
  if limit.sub_buckets == nil then return 0 end
  local requests = limit.requests > 0 and b.st[limit.at + SUM_R] / limit.requests or 0
  return math.max(requests, limit.tokens > 0 and b.st[limit.at + SUM_T] / limit.tokens or 0)
end

-- When to look at a quota again that is used up: at its end, at the latest when the day ends.
local function quota_wait(limit)
  if limit.quota == 'L' then return DAY_MS end
  if limit.quota == 'H' then return HOUR_MS - shard.now % HOUR_MS end
  local zone = zone_ms(limit.zone, shard.now)
  local wait_ms = DAY_MS - (shard.now + zone) % DAY_MS
  -- Where clocks change today, midnight comes an hour sooner or later.
  return wait_ms + zone - zone_ms(limit.zone, shard.now + wait_ms)
end

-- Requests and tokens that nobody has booked of what will count in wait_ms.
function window.left(b, limit, wait_ms)
  local st, at = b.st, limit.at
  local used_r, used_t = st[at + SUM_R], st[at + SUM_T]
  if limit.sub_buckets == nil then
    if wait_ms >= quota_wait(limit) then used_r, used_t = 0, 0 end
  else
    local past = history(b, limit)
    for i = 1, #past.requests do
      if (past.oldest + i - 1 + limit.sub_buckets) * SUB_MS > shard.now + wait_ms then break end
      used_r, used_t = used_r - past.requests[i], used_t - past.tokens[i]
    end
  end
  return limit.requests >= 0 and limit.requests - used_r or math.huge, limit.tokens >= 0 and limit.tokens - used_t or math.huge
end

-- Delay until one more request of `tokens` fits, with so much room left beside it: walk the sub-buckets from the oldest
-- until enough has slid out.
function window.wait(b, limit, tokens, kept_r, kept_t)
  local st, at = b.st, limit.at
  local need_r = limit.requests >= 0 and st[at + SUM_R] + 1 + kept_r - limit.requests or 0
  local need_t = limit.tokens >= 0 and st[at + SUM_T] + tokens + kept_t - limit.tokens or 0
  if need_r <= 0 and need_t <= 0 then return 0 end
  if limit.sub_buckets == nil then return quota_wait(limit) end
  local past = history(b, limit)
  for i = 1, #past.requests do
    need_r, need_t = need_r - past.requests[i], need_t - past.tokens[i]
    if need_r <= 0 and need_t <= 0 then return (past.oldest + i - 1 + limit.sub_buckets) * SUB_MS - shard.now end
  end
  return (b.bucket + limit.sub_buckets) * SUB_MS - shard.now
end

-- Book requests and tokens in the sub-bucket that they belong to; negative amounts give back. What has slid out is no
-- longer counted there, and a limit that was added after a call was booked (SINCE) gives nothing back for it.
function window.book(b, limit, bucket, requests, tokens)
  local st, at = b.st, limit.at
  if requests + tokens < 0 and bucket < st[at + SINCE] then return end
  b.dirty = true
  if limit.sub_buckets == nil then
    -- Of another period, or nobody knows when (0): nothing of the present one.
    if bucket <= 0 then return end
    if bucket < b.bucket and quota_index(limit.quota, bucket * SUB_MS, limit.zone) ~= st[at + CUR] then return end
    st[at + SUM_R], st[at + SUM_T] = st[at + SUM_R] + requests, st[at + SUM_T] + tokens
  elseif bucket >= b.bucket then
    st[at + SUM_R], st[at + SUM_T] = st[at + SUM_R] + requests, st[at + SUM_T] + tokens
    st[at + CUR_R], st[at + CUR_T] = st[at + CUR_R] + requests, st[at + CUR_T] + tokens
  elseif bucket > b.bucket - limit.sub_buckets then
    st[at + SUM_R], st[at + SUM_T] = st[at + SUM_R] + requests, st[at + SUM_T] + tokens
    if bucket < st[at + OLDEST] then st[at + OLDEST] = bucket end
    local name = window.field(limit.code, bucket)
    local moved = b.moved[name] or { 0, 0 }
    moved[1], moved[2] = moved[1] + requests, moved[2] + tokens
    b.moved[name] = moved
    b['counts' .. limit.code] = nil
  end
end

-- The state of a limit that was not there before. spent: its window is used up.
function window.fresh(st, limit, now_bucket, spent)
  local at = limit.at
  if limit.sub_buckets == nil then
    st[at + CUR] = quota_index(limit.quota, shard.now, limit.zone)
    return
  end
  st[at + CUR], st[at + OLDEST] = now_bucket, now_bucket
  if spent then
    local requests, tokens = math.max(0, limit.requests), math.max(0, limit.tokens)
    st[at + CUR_R], st[at + SUM_R] = requests, requests
    st[at + CUR_T], st[at + SUM_T] = tokens, tokens
  end
end

-- The fields in which a limit that goes away keeps its sub-buckets.
function window.fields(st, limit)
  local fields = {}
  if limit.sub_buckets then
    for bucket = st[limit.at + OLDEST], st[limit.at + CUR] do fields[#fields + 1] = window.field(limit.code, bucket) end
  end
  return fields
end

-- A quota's period and what is used of it; and to know that at least so much of that period was used (after a loss).
function window.quota(b, limit)
  return b.st[limit.at + CUR], b.st[limit.at + SUM_R], b.st[limit.at + SUM_T]
end

function window.restore(b, limit, index, requests, tokens)
  local st, at = b.st, limit.at
  if st[at + CUR] ~= index then return end
  st[at + SUM_R], st[at + SUM_T] = math.max(st[at + SUM_R], requests), math.max(st[at + SUM_T], tokens)
  b.dirty = true
end

-- Is less used than these amounts? A limit of requests and tokens is used as much as the one that is used more.
function window.below(b, limit, requests, tokens)
  local used = 0
  if requests > 0 then used = math.max(used, b.st[limit.at + SUM_R] / requests) end
  if tokens > 0 then used = math.max(used, b.st[limit.at + SUM_T] / tokens) end
  return used < 1 and (requests > 0 or tokens > 0)
end
