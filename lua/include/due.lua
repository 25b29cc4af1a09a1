-- due: what became due by time alone: deferred entries, flows to be looked at, budgets that admit again.

local due = {}

local MOST = 16 -- flows and budgets looked at in one call
local PROMOTED = 64 -- waiters that all budgets together promote in one call
local DEFERRED = 128 -- entries of a flow that come back in one call
local SUSPECTS = 4 -- of them suspects: nobody may hold two, so more would only be put aside again
local SUSPECTS_AGAIN_MS = 50
local STANDBY_NET_MS = 300000

-- Those of the due entries that come back now; suspects above a few are put aside for the next look.
local function chosen(queue_name, batch, entries)
  local back, aside, suspects = {}, {}, 0
  for _, entry in ipairs(entries) do
    local suspect = flow.suspect(flow.parse(entry))
    suspects = suspects + (suspect and 1 or 0)
    local place = suspect and suspects > SUSPECTS and aside or back
    place[#place + 1] = entry
  end
  if #aside > 0 then flow.put_aside(queue_name, batch, aside, shard.now + SUSPECTS_AGAIN_MS) end
  return back
end

-- Deferred entries that are due go to the front of their flow; a dry flow comes back to its queue to be refilled.
function due.flows()
  local names = redis.call('ZRANGEBYSCORE', key.flows_due, '-inf', shard.now, 'LIMIT', 0, MOST)
  for _, name in ipairs(names) do
    redis.call('ZREM', key.flows_due, name)
    local queue_name, batch = string.match(name, '^([^|]*)|(.*)$')
    local f = flow.load(queue_name, batch)
    if f and not f.dead then
      local deferred = flow.deferred_key(queue_name, batch)
      local found = redis.call('ZRANGEBYSCORE', deferred, '-inf', shard.now, 'LIMIT', 0, DEFERRED)
      local entries = chosen(queue_name, batch, found)
      if #entries > 0 then
        local reversed = {}
        for i = #entries, 1, -1 do reversed[#reversed + 1] = entries[i] end
        redis.call('LPUSH', key.flow(queue_name, batch), unpack(reversed))
        redis.call('ZREM', deferred, unpack(entries))
        for _, entry in ipairs(entries) do parking.retargeted(queue_name, flow.parse(entry).target) end
      end
      local first = redis.call('ZRANGE', deferred, 0, 0, 'WITHSCORES')
      if first[2] then flow.look_at(queue_name, batch, tonumber(first[2])) end
      if #entries > 0 or f.cursor < f.end_ then flow.offer(f) end
    end
  end
  return #names == MOST
end

function due.budgets()
  local ids = redis.call('ZRANGEBYSCORE', key.budgets_due, '-inf', shard.now, 'LIMIT', 0, MOST)
  local left = PROMOTED
  for _, id in ipairs(ids) do
    if left <= 0 then return true end
    left = left - parking.promote(id, left)
  end
  -- The net below the budgets: a parked queue whose time has long passed is let go.
  local overdue = redis.call('ZRANGEBYSCORE', key.standby, '-inf', shard.now - STANDBY_NET_MS, 'LIMIT', 0, 4)
  for _, name in ipairs(overdue) do parking.free_queue(name) end
  return #ids == MOST
end
