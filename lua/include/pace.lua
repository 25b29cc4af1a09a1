-- pace: a limit's budget given out evenly (GCRA), so that what the window allows does not come in bursts.
--
-- TAT_R and TAT_T are theoretical arrival times (ms): how far the requests and tokens given out reach into the future at
-- the paced rate. A request may go while that debt is no more than the burst.
-- A full window ends the credit of requests (TAT_R is WAITED then): what the window held back is not made up for at once.
-- Otherwise a burst came again in every later minute, each time after a gap as long as itself.

-- A burst is paid back within the next period: meanwhile the clock of the pace runs slower by as much. So it is missing in
-- no later minute, and the stream has no gap when the window remembers it.

local pace = {}

local BUSY = 13 -- since when requests go without a rest of a burst
local WAITED = -1 -- reads as the debt with which one more may go, at any time

-- ms that one unit of `amount` per period takes at the present pace.
local function unit_ms(b, limit, amount) return limit.period_ms / (limit.pace * recovery.pace(b) * amount) end

local function burst_ms(b, limit) return limit.burst_ms * recovery.burst(b) end

-- The debt of requests with which one more may go: it is within the burst itself where that is two requests or more.
local function most_debt_ms(b, limit)
  local burst, unit = burst_ms(b, limit), unit_ms(b, limit, limit.requests)
  return math.max(burst - unit, math.min(burst, unit))
end

-- Time by the clock of the pace: behind by what was paid back of the burst.
local function paced_now(b, limit)
  local busy_ms, burst = shard.now - b.st[limit.at + BUSY], burst_ms(b, limit)
  return shard.now - math.min(burst, busy_ms, busy_ms * burst / limit.period_ms)
end

-- How far the requests given out reach into the future, in ms; 0 and below: there was a rest.
function pace.request_debt(b, limit)
  local at_ms = b.st[limit.at + TAT_R]
  return at_ms == WAITED and most_debt_ms(b, limit) or at_ms - paced_now(b, limit)
end

function pace.token_debt(b, limit) return b.st[limit.at + TAT_T] - shard.now end

-- Debt decides, not size: who comes some ms late (timers, wake-ups gathered) finds that time made up for.
function pace.wait(b, limit)
  if limit.pace <= 0 then return 0 end
  local wait = 0
  if limit.requests > 0 then wait = math.max(wait, pace.request_debt(b, limit) - most_debt_ms(b, limit)) end
  if limit.tokens > 0 then wait = math.max(wait, pace.token_debt(b, limit) - burst_ms(b, limit)) end
  return wait
end

-- Somebody waits for a budget: where it is the window of requests that keeps him, the next one goes without the credit of
-- that time.
function pace.waited(b)
  for _, limit in ipairs(b.def.limits) do
    if limit.pace > 0 and limit.requests > 0 and b.st[limit.at + TAT_R] ~= WAITED then
      local window_ms = window.wait(b, limit, 0, budget.kept(b, limit, 0), 0)
      if window_ms > 0 and window_ms >= pace.request_debt(b, limit) - most_debt_ms(b, limit) then
        b.st[limit.at + TAT_R] = WAITED
        b.dirty = true
      end
    end
  end
end

-- Move by requests and tokens (negative: give back). An item that takes longer than the burst waits for its window
-- rather than for its pace; it may use the pace that went by meanwhile.
function pace.advance(b, limit, requests, tokens)
  if limit.pace <= 0 then return end
  local st, at, now = b.st, limit.at, shard.now
  if limit.requests > 0 and requests ~= 0 then
    local debt = pace.request_debt(b, limit)
    if debt <= 0 and requests > 0 then debt, st[at + BUSY] = 0, now end
    st[at + TAT_R] = paced_now(b, limit) + math.max(0, debt) + requests * unit_ms(b, limit, limit.requests)
  end
  if limit.tokens > 0 then
    local cost_ms = tokens * unit_ms(b, limit, limit.tokens)
    local unused = math.max(0, cost_ms - burst_ms(b, limit))
    st[at + TAT_T] = math.max(st[at + TAT_T], now - unused) + cost_ms
  end
end

-- How long the pace would keep the next one waiting once a request of `tokens` has gone.
function pace.debt_after(b, limit, tokens)
  if limit.pace <= 0 then return 0 end
  local wait = 0
  if limit.requests > 0 then
    local debt = math.max(0, pace.request_debt(b, limit)) + unit_ms(b, limit, limit.requests)
    wait = math.max(wait, debt - most_debt_ms(b, limit))
  end
  if limit.tokens > 0 then
    local debt = math.max(0, pace.token_debt(b, limit)) + tokens * unit_ms(b, limit, limit.tokens)
    wait = math.max(wait, debt - burst_ms(b, limit))
  end
  return wait
end

-- About how many requests of `tokens` the pace lets go at once.
function pace.room(b, limit, tokens)
  if limit.pace <= 0 then return 128 end
  local room = 128
  if limit.requests > 0 then
    local credit_ms = most_debt_ms(b, limit) - math.max(0, pace.request_debt(b, limit))
    room = math.min(room, 1 + credit_ms / unit_ms(b, limit, limit.requests))
  end
  if limit.tokens > 0 then
    local credit_ms = burst_ms(b, limit) - math.max(0, pace.token_debt(b, limit))
    room = math.min(room, credit_ms / (unit_ms(b, limit, limit.tokens) * tokens))
  end
  return room
end

-- The definition changed: what went at once under a larger burst does not bind a smaller one for as long.
function pace.redefine(b)
  for _, limit in ipairs(b.def.limits) do
    if limit.pace > 0 and limit.requests > 0 then
      local at = limit.at + TAT_R
      b.st[at] = math.min(b.st[at], paced_now(b, limit) + most_debt_ms(b, limit))
    end
  end
end

-- No burst is left at once: what follows goes at the rate of the pace.
function pace.spend_burst(b)
  for _, limit in ipairs(b.def.limits) do
    if limit.pace > 0 then
      local st, at = b.st, limit.at
      if limit.requests > 0 then
        st[at + TAT_R] = math.max(st[at + TAT_R], paced_now(b, limit) + most_debt_ms(b, limit))
      end
      st[at + TAT_T] = math.max(st[at + TAT_T], shard.now + burst_ms(b, limit))
    end
  end
end
