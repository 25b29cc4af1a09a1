-- pace: a limit's budget given out evenly (GCRA), so that what the window allows does not come in bursts.
--
-- TAT_R and TAT_T are theoretical arrival times (ms): how far the requests and tokens given out reach into the future at
-- the paced rate. A request may go while that debt is no more than the burst.

local pace = {}

-- ms that one unit of `amount` per period takes at the present pace.
local function unit_ms(b, limit, amount) return limit.period_ms / (limit.pace * recovery.pace(b) * amount) end

local function burst_ms(b, limit) return limit.burst_ms * recovery.burst(b) end

-- Debt decides, not size: who comes some ms late (timers, wake-ups gathered) finds that time made up for.
function pace.wait(b, limit)
  if limit.pace <= 0 then return 0 end
  local debt = 0
  if limit.requests > 0 then debt = math.max(debt, b.st[limit.at + TAT_R] - shard.now) end
  if limit.tokens > 0 then debt = math.max(debt, b.st[limit.at + TAT_T] - shard.now) end
  return math.max(0, debt - burst_ms(b, limit))
end

-- Move by requests and tokens (negative: give back). An item that takes longer than the burst waits for its window
-- rather than for its pace; it may use the pace that went by meanwhile.
function pace.advance(b, limit, requests, tokens)
  if limit.pace <= 0 then return end
  local st, at, now = b.st, limit.at, shard.now
  if limit.requests > 0 then
    st[at + TAT_R] = math.max(st[at + TAT_R], now) + requests * unit_ms(b, limit, limit.requests)
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
  local debt, now = 0, shard.now
  if limit.requests > 0 then
    debt = math.max(b.st[limit.at + TAT_R], now) + unit_ms(b, limit, limit.requests) - now
  end
  if limit.tokens > 0 then
    debt = math.max(debt, math.max(b.st[limit.at + TAT_T], now) + tokens * unit_ms(b, limit, limit.tokens) - now)
  end
  return math.max(0, debt - burst_ms(b, limit))
end

-- About how many requests of `tokens` the pace lets go at once.
function pace.room(b, limit, tokens)
  if limit.pace <= 0 then return 128 end
  local st, at, credit, room = b.st, limit.at, shard.now + burst_ms(b, limit), 128
  if limit.requests > 0 then
    room = math.min(room, (credit - math.max(st[at + TAT_R], shard.now)) / unit_ms(b, limit, limit.requests))
  end
  if limit.tokens > 0 then
    room = math.min(room, (credit - math.max(st[at + TAT_T], shard.now)) / (unit_ms(b, limit, limit.tokens) * tokens))
  end
  return room
end

-- No burst is left at once: what follows goes at the rate of the pace.
function pace.spend_burst(b)
  for _, limit in ipairs(b.def.limits) do
    if limit.pace > 0 then
      local debt_ms = shard.now + burst_ms(b, limit)
      b.st[limit.at + TAT_R] = math.max(b.st[limit.at + TAT_R], debt_ms)
      b.st[limit.at + TAT_T] = math.max(b.st[limit.at + TAT_T], debt_ms)
    end
  end
end
