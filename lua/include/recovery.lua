-- recovery: what a budget does about refusals: pause, one probe at a time, a ramp, and a smaller burst from then on.

local recovery = {}

local HEAD = 11
local IN_FLIGHT, PAUSED_UNTIL, RECOVERING, PROBE_UNTIL, PAUSES, EASE, EASED_AT, RAMP_SINCE, RAMP_PLACES, LEVEL, LEVEL_AT =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
local PROBE_MS = 30000 -- a probe that stays silent for so long lets another one through
local RAMP_MS = 2000 -- from the first answer to full speed
local RAMP_FROM = 0.25 -- share of the pace at which the ramp starts
local EASE_LEAST = 1 / 16
local EASE_DOUBLES_MS = 3600000 -- an eased budget grows back by a factor of 2 an hour
local EASED_PACE = 0.02 -- what a fully eased budget gives up of its pace
local GROWTH, GROWTH_MS = 1.5, 900000 -- a provider that refuses growth allows half as much again in 15 minutes
local LEVEL_BELOW = 0.9 -- of the use at which growth was refused
local LEVEL_LEAST = 0.02

function recovery.head() return { 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0 } end

-- How much of its burst a budget dares: 1, halved by each refusal, growing back slowly.
local function ease(b)
  if b.st[EASE] >= 1 then return 1 end
  return math.min(1, b.st[EASE] * 2 ^ ((shard.now - b.st[EASED_AT]) / EASE_DOUBLES_MS))
end

-- The share of its pace that a budget uses since its growth was refused; 1: all.
local function level(b)
  if b.st[LEVEL] >= 1 then return 1 end
  return math.min(1, b.st[LEVEL] * GROWTH ^ ((shard.now - b.st[LEVEL_AT]) / GROWTH_MS))
end

local function ramping(b) return shard.now - b.st[RAMP_SINCE] < RAMP_MS end

function recovery.burst(b) return ease(b) end

-- Factor of the pace: the ramp after a pause, slow growth, and the little that an eased budget gives up.
function recovery.pace(b)
  if b.pace_factor then return b.pace_factor end
  local factor = level(b) * (1 - EASED_PACE * (1 - ease(b)))
  if ramping(b) then factor = factor * (RAMP_FROM + (1 - RAMP_FROM) * (shard.now - b.st[RAMP_SINCE]) / RAMP_MS) end
  b.pace_factor = factor
  return factor
end

-- How long nothing passes: a pause, or a probe that is out. During the ramp as many calls may be in flight as were
-- answered (slow start), which holds also where nothing is paced.
function recovery.wait(b)
  local st, now = b.st, shard.now
  if st[PAUSED_UNTIL] > now then return st[PAUSED_UNTIL] - now end
  if st[RECOVERING] == 1 then return math.max(0, st[PROBE_UNTIL] - now) end
  if ramping(b) and st[IN_FLIGHT] >= st[RAMP_PLACES] then return st[RAMP_SINCE] + RAMP_MS - now end
  return 0
end

-- Answers how many calls may start now as far as a pause is concerned.
function recovery.room(b)
  if b.st[RECOVERING] == 1 then return 1 end
  return ramping(b) and b.st[RAMP_PLACES] - b.st[IN_FLIGHT] or 128
end

-- A call starts. Answers the pause that it probes, or 0.
function recovery.start(b)
  if b.st[RECOVERING] == 0 then return 0 end
  b.st[PROBE_UNTIL] = shard.now + PROBE_MS
  return b.st[PAUSES]
end

-- A call is over. probed: the pause that it probed, or 0; one that began since is not ended by it. Answers true when
-- others may go on for it.
function recovery.land(b, probed, answered)
  local st = b.st
  local ramped = ramping(b)
  if ramped and answered then st[RAMP_PLACES] = st[RAMP_PLACES] + 1 end
  if probed == 0 or probed ~= st[PAUSES] then return ramped end
  st[PROBE_UNTIL] = 0
  if answered and st[RECOVERING] == 1 then
    st[RECOVERING], st[RAMP_SINCE], st[RAMP_PLACES] = 0, shard.now, math.max(2, st[IN_FLIGHT] + 2)
    b.pace_factor = nil
    return true, true
  end
  return true
end

-- Nothing passes for pause_ms, then one probe at a time until one is answered. cause, of which the first of a salvo
-- counts: 'limit', the burst was too large for how the provider counts; 'growth', its use (load, 0 … 1) had grown too fast.
function recovery.pause(b, pause_ms, cause, load)
  local st, now = b.st, shard.now
  b.pace_factor = nil
  if st[PAUSED_UNTIL] <= now and st[RECOVERING] == 0 then
    if cause == 'limit' then
      st[EASE], st[EASED_AT] = math.max(EASE_LEAST, ease(b) / 2), now
    elseif cause == 'growth' then
      st[LEVEL], st[LEVEL_AT] = math.max(LEVEL_LEAST, math.min(level(b), load) * LEVEL_BELOW), now
    end
  end
  st[PAUSED_UNTIL] = math.max(st[PAUSED_UNTIL], now + pause_ms)
  st[RECOVERING], st[PROBE_UNTIL], st[PAUSES] = 1, 0, st[PAUSES] + 1
  b.dirty = true
  return st[PAUSED_UNTIL]
end
