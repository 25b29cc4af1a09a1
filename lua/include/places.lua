-- places: how many calls at once are worth it where a provider has no limits: additive increase, multiplicative decrease.
--
-- A round is as many answers as there were places when it began. If a round was much slower than the fastest known, more calls only
-- queue at the provider; if calls fail, it has too many. As long as all places are taken and neither is so, there is one
-- more each round, and at first twice as many (slow start, as TCP does: RFC 5681).

local places = {}

local FIRST = 4
local SLOW = 2 -- a round that takes so many times the fastest one is slow
local AFTER_SLOW, AFTER_FAILURE = 0.8, 0.6
local LEAST_ROUND, START_ROUND = 8, 0.25
local LEAST_BETWEEN_MS, MOST_BETWEEN_MS = 500, 30000 -- between two cuts: what was sent before the first still fails

-- fastest: ms per unit of work of the fastest round. start: 1 during slow start.
function places.first()
  return { size = FIRST, fastest = 0, calls = 0, total_ms = 0, units = 0, round = LEAST_ROUND, cut_at = 0, start = 1,
           call_ms = 0 }
end

-- During slow start a part of a round must do: in a whole one the places double, however slow the answers became.
local function begin_round(p)
  p.calls, p.total_ms, p.units = 0, 0, 0
  p.round = math.max(LEAST_ROUND, math.floor(p.size * (p.start == 1 and START_ROUND or 1)))
end

local function cut(p, factor)
  p.size, p.start, p.cut_at = math.max(1, p.size * factor), 0, shard.now
  begin_round(p)
end

-- answered / failed: calls that ended since the last time; total_ms, units: how long the answered ones took together, and
-- how much was made (tokens); full: all places were taken; most: never more than that.
function places.adapt(p, answered, failed, total_ms, units, full, most)
  local rested = shard.now - p.cut_at >= math.max(LEAST_BETWEEN_MS, math.min(MOST_BETWEEN_MS, SLOW * p.call_ms))
  if failed > 0 then
    if rested then cut(p, AFTER_FAILURE) end
    return
  end
  p.calls, p.total_ms, p.units = p.calls + answered, p.total_ms + total_ms, p.units + units
  if p.start == 1 and full then p.size = math.min(most, p.size + answered) end
  if p.calls < p.round then return end
  local pace_ms = p.total_ms / math.max(1, p.units)
  p.call_ms = p.total_ms / p.calls
  begin_round(p)
  if p.fastest == 0 or pace_ms < p.fastest then
    p.fastest = pace_ms
  elseif pace_ms > SLOW * p.fastest then
    -- With so few calls at once they do not wait for each other: the work itself has become slower.
    if p.size <= FIRST then p.fastest, p.start = pace_ms, 1 elseif rested then cut(p, AFTER_SLOW) end
  elseif full and p.start == 0 then
    p.size = math.min(most, p.size + 1)
  end
end
