#!lua flags=allow-oom
-- urge: change the weights of flows whose control state is of a given version: who changed a batch meanwhile goes first.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2…] flows    str     queue, batch, version (row version that was read), weight; at most 128 flows
--
-- RETURNS  {'urged', n}     n flows have the weight now
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow

local epoch = ARGV[1]

local refused = shard.refuses(epoch)
if refused then return refused end

local urged = 0
for i = 2, #ARGV, 4 do
  local state = flow.state_key(ARGV[i], ARGV[i + 1])
  local version, dead = unpack(redis.call('HMGET', state, 'version', 'dead'))
  if version and tonumber(version) == tonumber(ARGV[i + 2]) and dead ~= '1' then
    redis.call('HSET', state, 'weight', ARGV[i + 3])
    urged = urged + 1
  end
end
return { 'urged', urged }
