-- flow: the waiting entries of one batch on one resource.
--
-- Three keys: a list of entries (the hot window), :deferred (entries by the time they are due), and :state, a hash:
--   gen, cursor, end_, sealed   the window over Postgres: entries up to cursor were pushed under this generation
--   vt, weight, budgets         start tag, weight, cmsgpack {budget …} that bind every entry of the flow
--   version, paused, dead       control state
--   leased, refill_until        live leases; a refill is under way until then
--   parked, need                id of the budget that it waits on, and the cost of the entry that waits (parking)
-- An entry is the text position:run:in_tokens:out_tokens:attempts:crashes:target.

local flow = {}
local parking = {} -- include parking: what waits for a budget

local SUSPECT_AFTER = 2 -- holders that died with an entry: from then on no process holds two such entries at once
local TOMBSTONE_S = 600 -- a dead flow is remembered so that a late push does not bring it back

local FIELDS = { 'gen', 'cursor', 'end_', 'sealed', 'vt', 'weight', 'budgets', 'version', 'paused', 'dead', 'leased',
                 'refill_until', 'parked' }

function flow.state_key(queue_name, batch) return key.flow(queue_name, batch) .. ':state' end
function flow.deferred_key(queue_name, batch) return key.flow(queue_name, batch) .. ':deferred' end

-- The state of a flow as named values; nil when the engine does not know it.
function flow.load(queue_name, batch)
  local raw = redis.call('HMGET', flow.state_key(queue_name, batch), unpack(FIELDS))
  if not raw[1] then return nil end
  return {
    queue = queue_name, batch = batch,
    gen = tonumber(raw[1]), cursor = tonumber(raw[2]), end_ = tonumber(raw[3]), sealed = raw[4] == '1',
    vt = tonumber(raw[5]), weight = tonumber(raw[6]), budgets = cmsgpack.unpack(raw[7]),
    version = tonumber(raw[8]), paused = raw[9] == '1', dead = raw[10] == '1',
    leased = tonumber(raw[11]), refill_until = tonumber(raw[12]), parked = raw[13] or nil,
  }
end

-- Open a flow. It starts at the queue's present virtual time.
function flow.create(queue_name, batch, generation, cursor)
  local v = redis.call('HGET', key.queue_state(queue_name), 'v') or 0
  redis.call('HSET', flow.state_key(queue_name, batch), 'gen', generation, 'cursor', cursor, 'end_', 0, 'sealed', '0',
    'vt', v, 'weight', 1, 'budgets', cmsgpack.pack({}), 'version', 0, 'paused', '0', 'dead', '0', 'leased', 0,
    'refill_until', 0)
end

function flow.parse(entry)
  local position, run, in_tokens, out_tokens, attempts, crashes, target =
    string.match(entry, '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+):(%d+)$')
  return {
    text = entry, position = position, run = run, tokens = in_tokens + out_tokens,
    in_tokens = tonumber(in_tokens), out_tokens = tonumber(out_tokens),
    attempts = tonumber(attempts), crashes = tonumber(crashes), target = tonumber(target),
  }
end

function flow.format(e)
  return table.concat({ e.position, e.run, e.in_tokens, e.out_tokens, e.attempts, e.crashes, e.target }, ':')
end

-- Look at a flow again at a time: deferred entries are due then, or a refill may be handed out again.
function flow.look_at(queue_name, batch, at_ms)
  redis.call('ZADD', key.flows_due, 'LT', at_ms, queue_name .. '|' .. batch)
  shard.expect(at_ms)
end

-- Whether an entry may be what killed its holders.
function flow.suspect(e) return e.crashes >= SUSPECT_AFTER end

-- Let entries wait until a time.
function flow.put_aside(queue_name, batch, entries, at_ms)
  local scored = {}
  for _, entry in ipairs(entries) do scored[#scored + 1], scored[#scored + 2] = at_ms, entry end
  redis.call('ZADD', flow.deferred_key(queue_name, batch), unpack(scored))
  flow.look_at(queue_name, batch, at_ms)
end

-- Let a flow be claimed from, unless it is paused, dead or parked.
function flow.offer(f)
  if f.paused or f.dead or f.parked then return end
  queue.enqueue(f.queue, f.batch, f.vt)
end

-- Take a flow out of its queue, or out of the budget that it waits on. If its queue waits for an entry of it, it waits
-- for nothing now, and must not hold a place before others.
function flow.withdraw(f)
  if redis.call('ZREM', key.queue(f.queue), f.batch) == 1 then parking.look_again(f.queue) end
  if f.parked then
    budget.changed_line(f.parked)
    local id = f.parked
    redis.call('ZREM', key.waiting(id), 'f|' .. f.queue .. '|' .. f.batch)
    redis.call('HDEL', flow.state_key(f.queue, f.batch), 'parked', 'need')
    f.parked = nil
    parking.look_soon(id)
  end
end

-- A dead flow: its entries are gone, its leases run to their end. Answers how many.
function flow.kill(f, version)
  flow.withdraw(f)
  local state = flow.state_key(f.queue, f.batch)
  redis.call('UNLINK', key.flow(f.queue, f.batch), flow.deferred_key(f.queue, f.batch))
  redis.call('ZREM', key.flows_due, f.queue .. '|' .. f.batch)
  redis.call('HSET', state, 'dead', '1', 'version', version)
  if f.leased == 0 then redis.call('EXPIRE', state, TOMBSTONE_S) end
  return f.leased
end

-- Give an entry back. A dead flow drops it; so does one whose window was reset below it: the refill brings it again.
function flow.give_back(f, entry, position, delay_ms)
  if f == nil or f.dead or tonumber(position) > f.cursor then return end
  if delay_ms > 0 then
    flow.put_aside(f.queue, f.batch, { entry }, shard.now + delay_ms)
  else
    redis.call('LPUSH', key.flow(f.queue, f.batch), entry)
    flow.offer(f)
  end
end

-- After leases ended: forget a flow that has nothing left, ask again for a window that ran dry.
function flow.after_leases(f, ended)
  if f == nil then return end
  local state = flow.state_key(f.queue, f.batch)
  f.leased = math.max(0, redis.call('HINCRBY', state, 'leased', -ended))
  if f.leased > 0 and f.cursor >= f.end_ then return end
  if redis.call('LLEN', key.flow(f.queue, f.batch)) > 0 then return end
  if not f.dead and f.cursor < f.end_ then
    flow.look_at(f.queue, f.batch, math.max(shard.now, f.refill_until))
    return
  end
  if f.leased > 0 or redis.call('ZCARD', flow.deferred_key(f.queue, f.batch)) > 0 then return end
  if not (f.sealed or f.dead) then return end
  flow.withdraw(f)
  if f.dead then redis.call('EXPIRE', state, TOMBSTONE_S) else redis.call('DEL', state) end
  for _, id in ipairs(f.budgets) do
    if string.sub(id, 1, 6) == 'batch-' then redis.call('EXPIRE', key.budget(id), 86400) end
  end
end
