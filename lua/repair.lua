#!lua flags=allow-oom
-- repair: raise a flow's generation and empty its window; leases stay. Pushes of older generations are stale from now on.
-- A dead flow lives again if the batch's version is newer than the one that it died with: its items are run once more.
--
-- KEYS[1]  epoch       string  brim:{s}:epoch
-- ARGV[1]  epoch       str     the caller's epoch
-- ARGV[2]  queue       str     <ws>:<env>:<resource>
-- ARGV[3]  batch       str
-- ARGV[4]  generation  int     must be above the known one
-- ARGV[5]  cursor      int     where the refill starts again
-- ARGV[6]  version     int     control state, as in push
-- ARGV[7]  weight      float
-- ARGV[8]  budgets     json
-- ARGV[9]  end         int
-- ARGV[10] sealed      0|1
-- ARGV[11] paused      0|1
--
-- RETURNS  {'repaired'}
--          {'stale', generation}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, queue_name, batch = ARGV[1], ARGV[2], ARGV[3]
local generation, cursor = tonumber(ARGV[4]), tonumber(ARGV[5])
local version, weight, budgets = tonumber(ARGV[6]), ARGV[7], cjson.decode(ARGV[8])
local last, sealed, paused = tonumber(ARGV[9]), ARGV[10], ARGV[11]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local state = flow.state_key(queue_name, batch)
local f = flow.load(queue_name, batch)
if f and (f.gen >= generation or f.dead and version <= f.version) then return { 'stale', f.gen } end
if not f then
  flow.create(queue_name, batch, generation, 0)
  f = flow.load(queue_name, batch)
end
redis.call('UNLINK', key.flow(queue_name, batch), flow.deferred_key(queue_name, batch))
redis.call('HSET', state, 'gen', generation, 'cursor', cursor, 'end_', last, 'sealed', sealed, 'refill_until', 0,
  'dead', '0')
redis.call('PERSIST', state)
f.dead = false
f.cursor, f.end_ = cursor, last
if version > f.version then
  -- It may wait on a budget that binds it no more: the next visit parks it where it belongs.
  flow.withdraw(f)
  redis.call('HSET', state, 'version', version, 'weight', weight, 'budgets', cmsgpack.pack(budgets), 'paused', paused)
  f.paused = paused == '1'
end
if f.cursor < f.end_ then flow.look_at(queue_name, batch, shard.now) end
shard.write_clock()
return { 'repaired' }
