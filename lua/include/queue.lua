-- queue: the sorted set of flows of one resource, and its place among the shard's queues.
--
-- queue-state is a hash:
--   def     cmsgpack {version, weight, spill (0/1), kind, {connection budget …}, {budget …}, {model budget or '' …},
--             {pool budget …}, min_share}
--             targets, those that bind every entry, and per target what was learned of its model and what the resource's
--             pool uses there (both bind if they are defined); the part of a connection's minute that the pool gets first
--   vt      start tag among the queues of its connection (start-time fair queueing over tokens ÷ weight)
--   at      start tag among the queues of the shard: its score while it is active
--   v       virtual time of its flows: the start tag last served
--   parked  '1' while it waits on budgets (it is then in standby-resources and in their waiting sets)
--   need    the cost of the entry that it waits with (parking)

local queue = {}

function queue.decode(packed)
  local raw = cmsgpack.unpack(packed)
  return { version = raw[1], weight = raw[2], spill = raw[3] == 1, kind = raw[4], targets = raw[5], budgets = raw[6],
           models = raw[7] or {}, pools = raw[8] or {}, min_share = raw[9] or 0 }
end

-- Make a queue claimable if it has flows, is not parked and belongs to our workers. In the shard it starts no earlier
-- than V. Among the queues of its connection it starts no earlier than the connection's virtual time, unless it was
-- freed: it waited for the connection all the while, and what it is behind is owed to it. Two tags, because a queue on an
-- idle connection beside it races ahead.
function queue.activate(name, freed)
  local state = key.queue_state(name)
  local vt, at, parked, packed = unpack(redis.call('HMGET', state, 'vt', 'at', 'parked', 'def'))
  if parked or not packed then return end
  local def = queue.decode(packed)
  if def.kind == 'runner' then return end
  if redis.call('ZADD', key.active, 'NX', math.max(tonumber(at or 0), shard.virtual), name) == 0 then return end
  if not freed and def.targets[1] then
    redis.call('HSET', state, 'vt', math.max(tonumber(vt or 0), budget.virtual(def.targets[1])))
  end
  shard.wake()
end

-- Put a flow into its queue, no earlier than the queue's virtual time, and make the queue claimable.
function queue.enqueue(name, batch, flow_vt)
  local v = tonumber(redis.call('HGET', key.queue_state(name), 'v') or 0)
  local start = math.max(flow_vt, v)
  redis.call('ZADD', key.queue(name), 'NX', start, batch)
  queue.activate(name)
end
