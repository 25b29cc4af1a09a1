#!lua
-- set_queues: create or change queues; an older version than the one known is ignored.
--
-- KEYS[1]  epoch        string  brim:{s}:epoch
-- ARGV[1]  epoch        str     the caller's epoch
-- ARGV[2…] definitions  json    {queue, version, weight, spill 0|1, kind, [connection budget …], [budget …]}
--
-- RETURNS  {'applied', n}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch = ARGV[1]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local applied = 0
for i = 2, #ARGV do
  local given = cjson.decode(ARGV[i])
  local name, version = given[1], given[2]
  local state = key.queue_state(name)
  local packed = redis.call('HGET', state, 'def')
  if not packed or version > queue.decode(packed).version then
    -- Free it by its old targets first: it may wait on a budget that is no longer one of its own.
    local parked = redis.call('HEXISTS', state, 'parked') == 1
    if parked then parking.free_queue(name) end
    table.remove(given, 1)
    redis.call('HSET', state, 'def', cmsgpack.pack(given))
    if redis.call('EXISTS', key.queue(name)) == 1 then queue.activate(name) end
    applied = applied + 1
  end
end
shard.write_clock()
return { 'applied', applied }
