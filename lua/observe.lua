#!lua
-- observe: what answers said of a model on a connection: its limits, how much of them is used, how its calls fare.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2…] reports  json    {model budget, connection budget, age_ms, refilled 0|1, [limit as in set_limits …],
--                            [[code, 'requests'|'tokens', limit, used, reset_ms, rounded_to] …],
--                            [answered, failed, total_ms, units, most places] or []}; at most 64
--            age_ms: since the moment that the report speaks of; reset_ms -1: not said; refilled: continuously, as far as
--            is known; used is rounded to a multiple of rounded_to (1: exact)
--
-- RETURNS  {'observed', {model budget, places or -1, limit, …}, …}   those whose definition changed; a limit is
--            {code, meter, requests, tokens}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct
--@include learned
--@include places

local epoch = ARGV[1]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

-- Take over the limits that were reported; what a report leaves out stays. Answers whether anything changed.
local function note_limits(seen, limits)
  local changed = false
  for _, given in ipairs(limits) do
    local code, known = given[1], seen.limits[given[1]]
    if known then
      if given[3] < 0 then given[3] = known[3] end
      if given[4] < 0 then given[4] = known[4] end
    end
    for i = 2, #given do changed = changed or not known or known[i] ~= given[i] end
    seen.limits[code] = given
  end
  return changed
end

-- Is any of these limits lower than the connection's own?
local function binds(seen, connection)
  for code, given in pairs(seen.limits) do
    for at, name in pairs({ [3] = 'requests', [4] = 'tokens' }) do
      local own = learned.find(connection, code, name)
      if given[at] >= 0 and (not own or given[at] < own[name]) then return true end
    end
  end
  return false
end

local function definition(id, seen)
  local reply = { id, seen.places and math.floor(seen.places.size) or -1 }
  for _, limit in pairs(seen.limits) do reply[#reply + 1] = { limit[1], limit[7], limit[3], limit[4] } end
  return reply
end

-- Take one report over. Answers the model's definition when it changed.
local function observe(id, connection, age_ms, refilled, limits, uses, calls)
  local seen, model = learned.load(id), budget.load(id)
  -- A budget without limits was made to be parked, before anything was learned of the model or after.
  local bare = model and #model.def.limits == 0 and model.def.max_in_flight < 0 and next(seen.limits) ~= nil
  local changed = note_limits(seen, limits) or bare
  if #calls > 0 then
    seen.places = seen.places or places.first()
    local before = math.floor(seen.places.size)
    local full = model and model.st[IN_FLIGHT] + calls[1] >= before or redis.call('EXISTS', key.waiting(id)) == 1
    places.adapt(seen.places, calls[1], calls[2], calls[3], calls[4], full, calls[5])
    changed = changed or not model or math.floor(seen.places.size) ~= before
  end
  if changed and (model or #calls > 0 or binds(seen, connection)) then model = learned.define(id, connection, seen) end
  for _, use in ipairs(uses) do
    local code, name = use[1], use[2]
    local report = { limit = use[3], used = use[4], reset_ms = use[5], rounded_to = use[6], refilled = refilled == 1,
                     moment = shard.now - age_ms, refused = connection and recovery.burst(connection) < 1 }
    local books = model or connection
    local limit, dim = learned.find(books, code, name), code .. '.' .. name
    seen.dims[dim] = seen.dims[dim] or learned.dim()
    local others = limit and limit.sub_buckets and learned.others(books, limit, name, seen.dims[dim], report) or 0
    if not model and others > 0 then
      model = learned.define(id, connection, seen)
      limit = learned.find(model, code, name)
    end
    if model and others > 0 then learned.book(model, limit, name, seen.dims[dim], report, others) end
    if model and limit and learned.keep(limit, seen.dims[dim], report) then model = learned.define(id, connection, seen) end
  end
  learned.save(id, seen)
  return changed and definition(id, seen) or nil
end

local reply = { 'observed' }
for i = 2, #ARGV do
  local id, connection_id, age_ms, refilled, limits, uses, calls = unpack(cjson.decode(ARGV[i]))
  reply[#reply + 1] = observe(id, budget.load(connection_id), age_ms, refilled, limits, uses, calls)
  parking.hand_on(id)
end
budget.save()
shard.write_clock()
return reply
