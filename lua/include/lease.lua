-- lease: the fenced, time-limited right to run one attempt of an entry.
--
-- leases is a hash: lease id → cmsgpack {fence, holder, queue, batch, entry, {budget …}, in_tokens, out_tokens, bucket,
-- {budget, pause, …}}. The id is <resource>:<batch>:<position>, so an entry is never leased twice. bucket is the
-- sub-bucket of its booking; the last names the recovering budgets that this call probes, each with its pause.

local lease = {}

local LEASE_SUB_MS = 250

function lease.id(queue_name, batch, position)
  return resource_of(queue_name) .. ':' .. batch .. ':' .. position
end

local FENCE, HOLDER, QUEUE, BATCH, ENTRY, BUDGETS, IN_TOKENS, OUT_TOKENS, BUCKET, PROBES = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10

function lease.pack(l)
  return cmsgpack.pack({ l.fence, l.holder, l.queue, l.batch, l.entry, l.budgets, l.in_tokens, l.out_tokens, l.bucket,
                         l.probes })
end

function lease.unpack(packed)
  local raw = cmsgpack.unpack(packed)
  return { fence = raw[FENCE], holder = raw[HOLDER], queue = raw[QUEUE], batch = raw[BATCH], entry = raw[ENTRY],
           budgets = raw[BUDGETS], tokens = raw[IN_TOKENS] + raw[OUT_TOKENS], in_tokens = raw[IN_TOKENS],
           out_tokens = raw[OUT_TOKENS], bucket = raw[BUCKET], probes = raw[PROBES] }
end

-- Those leases (by id and fence) that the caller still holds, in order; false in the place of a lost one. A lease that
-- is named twice is lost the second time: it must not end twice.
function lease.held(ids, fences)
  if #ids == 0 then return {} end
  local found = redis.call('HMGET', key.leases, unpack(ids))
  local held, named = {}, {}
  for i, packed in ipairs(found) do
    local l = packed and lease.unpack(packed) or nil
    if l and l.fence == fences[i] and not named[ids[i]] then
      l.id, named[ids[i]] = ids[i], true
      held[i] = l
    else
      held[i] = false
    end
  end
  return held
end

-- The call of a lease left `sent_ago_ms` before now: count it in the sub-bucket of its sending.
function lease.sent(l, sent_ago_ms)
  local sent_bucket = math.floor((shard.now - sent_ago_ms) / LEASE_SUB_MS)
  if sent_bucket <= l.bucket then return false end
  for _, id in ipairs(l.budgets) do
    local b = budget.load(id)
    if b then budget.move(b, l.bucket, sent_bucket, l) end
  end
  l.bucket = sent_bucket
  return true
end

-- The call was never sent: every budget gets all of it back.
function lease.refund(l)
  for _, id in ipairs(l.budgets) do
    local b = budget.load(id)
    if b then budget.refund(b, l.bucket, l) end
  end
end

-- The provider charged so many tokens: the difference to the reservation is given back or booked.
function lease.charge(l, in_tokens, out_tokens)
  if in_tokens == l.in_tokens and out_tokens == l.out_tokens then return end
  local charged = { tokens = in_tokens + out_tokens, in_tokens = in_tokens, out_tokens = out_tokens }
  for _, id in ipairs(l.budgets) do
    local b = budget.load(id)
    if b then budget.charge(b, l.bucket, l, charged) end
  end
end

-- The pause of a budget that this call probes; 0: none.
function lease.probed(l, id)
  for i = 1, #l.probes, 2 do
    if l.probes[i] == id then return l.probes[i + 1] end
  end
  return 0
end

-- Collects leases that end in this call, so that each key is written once.
function lease.ending() return { ids = {}, by_queue = {}, flows = {}, freed = {} } end

-- A lease ends: out of flight on all its budgets.
function lease.finish(ending, l, answered)
  ending.ids[#ending.ids + 1] = l.id
  local members = ending.by_queue[l.queue] or {}
  members[#members + 1] = l.id
  ending.by_queue[l.queue] = members
  local flow_name = l.queue .. '|' .. l.batch
  local count = ending.flows[flow_name] or { queue = l.queue, batch = l.batch, n = 0 }
  count.n = count.n + 1
  ending.flows[flow_name] = count
  for _, id in ipairs(l.budgets) do
    local b = budget.load(id)
    -- The end of a call frees nothing of a budget without places and without a refund: looking at its waiters then
    -- would only defeat the 25 ms in which wake-ups are gathered (half of all claims came back empty).
    if b and budget.land(b, lease.probed(l, id), answered) then ending.freed[id] = true end
  end
end

-- The flow of a lease, loaded once per call.
function lease.flow(ending, l)
  local count = ending.flows[l.queue .. '|' .. l.batch]
  if count.flow == nil then count.flow = flow.load(l.queue, l.batch) or false end
  return count.flow or nil
end

-- Write what ended: leases first, then flows, then budgets, then the hand-on that reads all of them.
function lease.commit(ending)
  if #ending.ids > 0 then
    redis.call('HDEL', key.leases, unpack(ending.ids))
    redis.call('ZREM', key.deadlines, unpack(ending.ids))
    for name, ids in pairs(ending.by_queue) do redis.call('ZREM', key.processing(name), unpack(ids)) end
  end
  for _, count in pairs(ending.flows) do
    if count.flow == nil then count.flow = flow.load(count.queue, count.batch) or false end
    flow.after_leases(count.flow or nil, count.n)
  end
  for id in pairs(ending.freed) do parking.hand_on(id) end
  budget.save()
end
