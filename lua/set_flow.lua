#!lua flags=allow-oom
-- set_flow: tell a live flow its control state: weight, budgets, pause. All of it each time, because messages overtake each
-- other and are lost: the newest version is complete, an older one than the one known is ignored.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2]  queue    str     <ws>:<env>:<resource>
-- ARGV[3]  batch    str
-- ARGV[4]  version  int     row version of the batch
-- ARGV[5]  weight   float   share of service from now on
-- ARGV[6]  budgets  json    budget ids that bind every entry from now on
-- ARGV[7]  paused   0|1     its waiting entries are held
--
-- RETURNS  {'applied'}
--          {'ignored'}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, queue_name, batch, version = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local weight, budgets, paused = ARGV[5], cjson.decode(ARGV[6]), ARGV[7]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local f = flow.load(queue_name, batch)
if not f or f.dead or version <= f.version then return { 'ignored' } end
-- A budget of its own that it lost ends with the leases that still name it.
for _, id in ipairs(f.budgets) do
  if string.sub(id, 1, 6) == 'batch-' then redis.call('EXPIRE', key.budget(id), 86400) end
end
for _, id in ipairs(budgets) do
  if string.sub(id, 1, 6) == 'batch-' then redis.call('PERSIST', key.budget(id)) end
end
redis.call('HSET', flow.state_key(queue_name, batch), 'version', version, 'weight', weight, 'budgets',
  cmsgpack.pack(budgets), 'paused', paused)
-- It may wait on a budget that binds it no more, or only now; the next visit parks it where it belongs.
flow.withdraw(f)
f.paused = paused == '1'
if redis.call('EXISTS', key.flow(queue_name, batch)) == 1 then flow.offer(f) end
if f.cursor < f.end_ then flow.look_at(queue_name, batch, shard.now) end
shard.write_clock()
return { 'applied' }
