-- carry: what a quota begins with whose zone or meter changed within its period, and which stored figures still count:
-- never less than was used in the present period, as far as anybody knows.

local carry = {}

-- When the present period of a quota began, by halves, to the hour: zones differ from UTC by whole hours.
local function began_ms(limit)
  local index = quota_index(limit.quota, shard.now, limit.zone)
  local present = math.floor(shard.now / HOUR_MS)
  local before = present - 32 * 24 -- a month has 31 days
  while present - before > 1 do
    local between = math.floor((before + present) / 2)
    if quota_index(limit.quota, between * HOUR_MS, limit.zone) == index then present = between else before = between end
  end
  return present * HOUR_MS
end

-- Does a period that was counted in `zone` share any time with the present one of the limit, up to now?
function carry.overlaps(limit, zone, index)
  local last = quota_index(limit.quota, shard.now, zone)
  if index >= last or zone == limit.zone then return index == last end
  return index >= quota_index(limit.quota, began_ms(limit), zone)
end

-- A quota's period, and what it counts: 'D', 'D<' (tokens in) or 'D>' (out).
local function parts(code) return string.match(code, '^(%u+)(.*)$') end

-- Do the tokens of one quota tell of those of another? Of those in and out neither tells of the other.
function carry.tells(code, other)
  local _, meter = parts(code)
  local _, others = parts(other)
  return meter == others or meter == '' or others == ''
end

-- The quotas in which what was counted under a code goes on: the same, else those of its period.
function carry.successors(def, code)
  local same, period = {}, {}
  for _, limit in ipairs(def.limits) do
    if limit.quota and limit.code == code then same[1] = limit end
    if limit.quota and limit.quota == parts(code) then period[#period + 1] = limit end
  end
  return #same > 0 and same or period
end

-- A quota that stays, in another zone: both periods hold the present, so what is counted goes on. What was booked before
-- is not given back: it may lie in the new period and not in the figures, which began with the old one.
function carry.zone(st, limit, now_bucket)
  st[limit.at + CUR] = quota_index(limit.quota, shard.now, limit.zone)
  st[limit.at + SINCE] = now_bucket + 1
end

-- A quota that is new beside others of its period that go: it takes over what they counted.
function carry.meter(st, limit, known, stays)
  local requests, tokens = 0, 0
  for _, other in ipairs(known.def.limits) do
    if other.quota == limit.quota and not stays[other.code] then
      requests = math.max(requests, known.st[other.at + SUM_R])
      if carry.tells(limit.code, other.code) then tokens = tokens + known.st[other.at + SUM_T] end
    end
  end
  st[limit.at + SUM_R], st[limit.at + SUM_T] = requests, tokens
end
