-- hold: an entry that is larger than what is left of a token budget holds its place, and smaller ones may pass it.
--
-- The place is that of the first waiter of the budget, so it is void when what waits there is withdrawn. Whoever passes
-- must not delay the entry: what passes fits beside it at the moment at which it fits itself, and its pace is over by then.
-- So any number may pass, nobody needs to expire, and an entry that waits for the end of an hour leaves the hour to others.

local hold = {}

local LEAST_WAIT_MS = 100 -- what waits for less is not worth passing
local LEAST_ROOM = 1 / 16 -- neither is a room that is so small a part of its cost

-- What is left of every limit when `head` starts, and in how many ms that is; nil when it does not wait for its tokens.
local function room_beside(b, head)
  if b.room_of == head then return b.room_beside end
  local found
  local wait_ms = recovery.wait(b) == 0 and budget.wait(b, head) or 0
  local places = b.def.max_in_flight
  if wait_ms >= LEAST_WAIT_MS and (places < 0 or b.st[IN_FLIGHT] + 1 < places) then
    found = { wait_ms = wait_ms, requests = {}, tokens = {}, least = math.huge }
    for i, limit in ipairs(b.def.limits) do
      local kept_r, kept_t = budget.kept(b, limit, head[limit.meter])
      local requests, tokens = window.left(b, limit, wait_ms)
      found.requests[i], found.tokens[i] = requests - 1 - kept_r, tokens - head[limit.meter] - kept_t
      found.least = math.min(found.least, found.requests[i] < 1 and 0 or found.tokens[i])
    end
    if found.least < math.max(1, head.tokens * LEAST_ROOM) then found = nil end
  end
  b.room_of, b.room_beside = head, found
  return found
end

-- Whether it is worth looking for something that may pass `head`.
function hold.open(b, head) return room_beside(b, head) ~= nil end

-- Whether a smaller cost may go before `head`, which waits on the budget, without delaying it.
function hold.lets_pass(b, head, cost)
  local room = room_beside(b, head)
  if not room then return false end
  for i, limit in ipairs(b.def.limits) do
    if room.requests[i] < 1 or cost[limit.meter] > room.tokens[i] then return false end
    if pace.debt_after(b, limit, cost[limit.meter]) > room.wait_ms then return false end
  end
  return true
end

-- Something was booked: what is left must be counted again.
function hold.forget(b) b.room_of, b.room_beside = nil, nil end
