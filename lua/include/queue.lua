-- queue: the sorted set of flows of one resource, and its place among the shard's queues.
--
-- queue-state is a hash:
--   def     cmsgpack {version, weight, spill (0/1), kind, {connection budget …}, {budget …}}
--   vt      start tag of the queue among queues (start-time fair queueing over tokens ÷ weight)
--   v       virtual time of its flows: the start tag last served
--   parked  '1' while it waits on budgets (it is then in standby-resources and in their waiting sets)
--   need    the tokens of the entry that it waits with

local queue = {}

function queue.decode(packed)
  local raw = cmsgpack.unpack(packed)
  return { version = raw[1], weight = raw[2], spill = raw[3] == 1, kind = raw[4], targets = raw[5], budgets = raw[6] }
end

-- Make a queue claimable if it has flows, is not parked and belongs to our workers. It starts no earlier than V.
function queue.activate(name)
  local vt, parked, packed = unpack(redis.call('HMGET', key.queue_state(name), 'vt', 'parked', 'def'))
  if parked or not packed then return end
  if queue.decode(packed).kind == 'runner' then return end
  local start = math.max(tonumber(vt or 0), shard.virtual)
  if redis.call('ZADD', key.active, 'NX', start, name) == 1 then
    redis.call('HSET', key.queue_state(name), 'vt', start)
    shard.wake()
  end
end

-- Put a flow into its queue, no earlier than the queue's virtual time, and make the queue claimable.
function queue.enqueue(name, batch, flow_vt)
  local v = tonumber(redis.call('HGET', key.queue_state(name), 'v') or 0)
  local start = math.max(flow_vt, v)
  redis.call('ZADD', key.queue(name), 'NX', start, batch)
  queue.activate(name)
end
