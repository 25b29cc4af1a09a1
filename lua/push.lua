#!lua
-- push: append entries to a flow's window, if its generation and cursor are still the caller's.
--
-- KEYS[1]   epoch        string  brim:{s}:epoch
-- ARGV[1]   epoch        str     the caller's epoch
-- ARGV[2]   queue        str     <ws>:<env>:<resource>
-- ARGV[3]   batch        str
-- ARGV[4]   version      int     of the control state below; an older one does not replace a newer
-- ARGV[5]   weight       float   share of service
-- ARGV[6]   budgets      json    budget ids that bind every entry of the flow
-- ARGV[7]   end          int     last position stored so far
-- ARGV[8]   sealed       0|1     nothing above `end` will come
-- ARGV[9]   paused       0|1
-- ARGV[10]  generation   int
-- ARGV[11]  cursor       int     the cursor must be this
-- ARGV[12]  next_cursor  int     and becomes this
-- ARGV[13…] entries      str     position:run:in_tokens:out_tokens:attempts:crashes:target
--
-- RETURNS  {'pushed', n}    n entries appended (those that are leased now are left out)
--          {'stale', generation, cursor}
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
local version, weight, budgets = tonumber(ARGV[4]), ARGV[5], cjson.decode(ARGV[6])
local last, sealed, paused = tonumber(ARGV[7]), ARGV[8], ARGV[9]
local generation, cursor, next_cursor = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local FIRST_ENTRY, CHUNK = 13, 1000

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local state, list = flow.state_key(queue_name, batch), key.flow(queue_name, batch)
local f = flow.load(queue_name, batch)
if f and (f.dead or f.gen ~= generation or f.cursor ~= cursor) then return { 'stale', f.gen, f.cursor } end
if not f then
  if cursor ~= 0 then return { 'stale', 0, 0 } end
  flow.create(queue_name, batch, generation, 0)
  f = flow.load(queue_name, batch)
end
redis.call('HSET', state, 'cursor', next_cursor, 'end_', math.max(f.end_, last), 'sealed', sealed, 'refill_until', 0)
f.cursor, f.end_, f.sealed = next_cursor, math.max(f.end_, last), sealed == '1'
if version > f.version then
  -- It may wait on a budget that binds it no more: the next visit parks it where it belongs.
  flow.withdraw(f)
  redis.call('HSET', state, 'version', version, 'weight', weight, 'budgets', cmsgpack.pack(budgets), 'paused', paused)
  f.paused = paused == '1'
end

local pushed = 0
for from = FIRST_ENTRY, #ARGV, CHUNK do
  local texts, ids = {}, {}
  for i = from, math.min(from + CHUNK - 1, #ARGV) do
    texts[#texts + 1] = ARGV[i]
    ids[#ids + 1] = lease.id(queue_name, batch, string.match(ARGV[i], '^%d+'))
  end
  local free = {}
  for i, leased in ipairs(redis.call('HMGET', key.leases, unpack(ids))) do
    if not leased then free[#free + 1] = texts[i] end
  end
  if #free > 0 then redis.call('RPUSH', list, unpack(free)) end
  pushed = pushed + #free
end
-- Also without new entries: this push may be what ended a pause.
if redis.call('EXISTS', list) == 1 then
  flow.offer(f)
elseif f.cursor < f.end_ then
  flow.look_at(queue_name, batch, shard.now)
else
  -- All that was left had its outcome already: nothing of it comes back, so nobody would forget it later.
  flow.after_leases(f, 0)
end
shard.write_clock()
return { 'pushed', pushed }
