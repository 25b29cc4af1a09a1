-- shard: the keys of this shard, its epoch check, its clock and its wake-ups.
--
-- Every key is derived from the tag of KEYS[1], the shard's epoch, so a script touches one slot.

local PREFIX = string.sub(KEYS[1], 1, -6)

local key = {
  active = PREFIX .. 'active-resources',
  standby = PREFIX .. 'standby-resources',
  deadlines = PREFIX .. 'global-processing-queue',
  leases = PREFIX .. 'leases',
  budgets_due = PREFIX .. 'budgets-due',
  flows_due = PREFIX .. 'flows-due',
  clock = PREFIX .. 'clock',
  direct = PREFIX .. 'direct-calls',
  fence = PREFIX .. 'fence',
  quotas_changed = PREFIX .. 'quotas-changed',
  quotas_handed = PREFIX .. 'quotas-handed',
  recovery = PREFIX .. 'recovery',
  wake = PREFIX .. 'wake',
  timer = PREFIX .. 'timer',
}

local resources = {}

-- A queue is named <ws>:<env>:<resource>; a flow by that name and its batch.
local function resource_of(queue)
  local resource = resources[queue]
  if not resource then
    resource = string.match(queue, '^.*:(.*)$')
    resources[queue] = resource
  end
  return resource
end

function key.queue(queue) return PREFIX .. queue .. ':queue' end
function key.queue_state(queue) return PREFIX .. queue .. ':queue-state' end
function key.processing(queue) return PREFIX .. queue .. ':processing-queue' end
function key.flow(queue, batch) return PREFIX .. 'flow:' .. resource_of(queue) .. ':' .. batch end
function key.budget(id) return PREFIX .. 'budget:' .. id end
function key.waiting(id) return PREFIX .. 'budget:' .. id .. ':waiting' end
function key.grants(holder) return PREFIX .. 'grants:' .. holder end
function key.feed(queue, batch)
  return PREFIX .. string.match(queue, '^(.*):') .. ':' .. batch .. ':batch-queue-stream'
end

local shard = { woken = false, claiming = false }

local SLOWER = 0.05 -- share of its time that a shard ahead of its server gives up until they agree

-- The rule of every script: an epoch that is not the caller's ends the call before anything is written.
function shard.refuses(epoch)
  local ruling = redis.call('GET', KEYS[1])
  if ruling == epoch then return nil end
  return { 'epoch', ruling or '' }
end

-- Server time in ms, never backwards, and the virtual time V of the shard's queues. Read once per script.
-- A failover or an adjusted clock may set the server's time back. The shard's own then goes on from where it was, ahead of
-- the server's, and falls back to it slowly: a little slower than time, which is the safe side for every limit.
function shard.read_clock()
  local last, virtual, ahead = unpack(redis.call('HMGET', key.clock, 'now', 'v', 'ahead'))
  local server_ms, last_ms, ahead_ms = read_server_ms(), tonumber(last or 0), tonumber(ahead or 0)
  if ahead_ms > 0 then ahead_ms = math.max(0, ahead_ms - SLOWER * math.max(0, server_ms + ahead_ms - last_ms)) end
  if server_ms + ahead_ms < last_ms then ahead_ms = last_ms - server_ms end
  shard.now, shard.ahead = math.floor(server_ms + ahead_ms), ahead and ahead_ms or ahead_ms > 0 and ahead_ms
  shard.virtual = tonumber(virtual or 0)
  return shard.now
end

function shard.write_clock()
  redis.call('HSET', key.clock, 'now', shard.now, 'v', shard.virtual)
  if shard.ahead then redis.call('HSET', key.clock, 'ahead', shard.ahead) end
end

-- One token in the list at most: it wakes one idle worker, and a claim that leaves work pushes it again. While a claim
-- walks it sees for itself what became claimable.
function shard.wake()
  if shard.woken or shard.claiming then return end
  shard.woken = true
  if redis.call('LLEN', key.wake) == 0 then redis.call('LPUSH', key.wake, '1') end
end

-- When the timer rings, who holds it, and since when: 'due_ms|since_ms|holder'.
function shard.timer()
  local due_ms, since_ms, holder = string.match(redis.call('GET', key.timer) or '', '^(%d+)|(%d+)|(.*)$')
  return tonumber(due_ms), holder, tonumber(since_ms)
end

function shard.set_timer(due_ms, holder, since_ms)
  local value = string.format('%d|%d|%s', due_ms, since_ms, holder)
  redis.call('SET', key.timer, value, 'PX', due_ms - shard.now + 10000)
end

-- Something becomes claimable at at_ms: if that is before the timer rings, an idle worker must learn of it now.
-- A claim sets the timer itself at its end.
function shard.expect(at_ms)
  if shard.claiming or shard.woken then return end
  local due_ms = shard.timer()
  if due_ms == nil or at_ms < due_ms or due_ms < shard.now then shard.wake() end
end

-- Tell the readers of a batch's feed. The feed is a hint: what counts is in Postgres.
function shard.ring(queue, batch, field, value)
  local feed = key.feed(queue, batch)
  redis.call('XADD', feed, 'MAXLEN', '~', 128, '*', field, value)
  redis.call('EXPIRE', feed, 3600)
end
