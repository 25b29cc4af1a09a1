-- learned: what answers say of one model on one connection: its limits, and use of the same key by others.
--
-- The model's budget carries, beside what every budget has, the field 'seen': cmsgpack {version, limits, dims, places}
--   version  of the definition that was made of it
--   limits   code → a limit as set_limits takes it; requests or tokens -1: never reported
--   dims     '<code>.requests' or '<code>.tokens' → what is known of how that limit is counted (learned.dim)
--   places   how many calls at once are worth it (include places), where the provider has no limits
-- Until something binds, 'seen' is all there is of the budget, and claims pass it by.
--
-- A report says at one moment: so much of the limit is used. What our own books do not explain of it, others used. It is
-- booked where the report was made, as if it were ours, so that windows, pace and waiters need to know nothing of it.

local learned = {}

local KEPT_S = 604800 -- a model that is silent for so long is forgotten
local WORTH, WORTH_REFUSED = 0.1, 0.02 -- share of a limit that others must have used to be believed; after a refusal
local SINCE_MS = 3000 -- and for so long without one report that says otherwise
local FORGOTTEN = 0.01 -- share of a limit below which they are gone again
local MOST = 0.9 -- share of a limit that may be booked for others: a report may be wrong
local ROUNDED_MS = 1200 -- how far a reset may be off by rounding
local STEADY_MS = 3000 -- after so long a moment that stays is told from one that moves
local PACED_MS = 500 -- a find delays us by no more than this much of the limit
local SURE = 10
local MARGIN = 0.01 -- share of a window's limit that is kept free while others use it
local LAG_MS = 500 -- what others do within this time is not known before our next calls arrive

function learned.dim() return { score = 0, level = -1, n = 0, longest = 0, longest_at = 0, ends = 0, ends_at = 0,
                                  fixed = false, others = 0, others_at = 0, kept = 0, worth_at = 0, limit = 0 } end

function learned.load(id)
  local packed = redis.call('HGET', key.budget(id), 'seen')
  return packed and cmsgpack.unpack(packed) or { version = 1, limits = {}, dims = {} }
end

function learned.save(id, seen)
  redis.call('HSET', key.budget(id), 'seen', cmsgpack.pack(seen))
  redis.call('EXPIRE', key.budget(id), KEPT_S)
end

-- The limit of a budget with this code that counts `name` ('requests' or 'tokens'); nil when there is none.
function learned.find(b, code, name)
  for _, limit in ipairs(b and b.def.limits or {}) do
    if limit.code == code and limit[name] >= 0 then return limit end
  end
end

-- What of a limit is left free because others use it too.
local function kept_of(seen, code, name)
  local d = seen.dims[code .. '.' .. name]
  return d and d.kept or 0
end

-- Make the model's budget what `seen` says. Without a past of its own it takes over the connection's books: what was
-- used so far is then at least what is booked.
function learned.define(id, connection, seen)
  local known = budget.load(id)
  local packed = { seen.version, seen.places and math.floor(seen.places.size) or -1 }
  for code, limit in pairs(seen.limits) do
    packed[#packed + 1] = { limit[1], limit[2], limit[3], limit[4], limit[5], limit[6], limit[7], share.of(connection), '',
                            kept_of(seen, code, 'requests'), kept_of(seen, code, 'tokens') }
  end
  seen.version = seen.version + 1
  budget.define(id, cmsgpack.pack(packed), known or connection and budget.inherited(id, connection), false)
  return budget.load(id)
end

-- What is booked in the sub-buckets from … to, both included.
local function booked(b, limit, name, from, to)
  local past, sum = history(b, limit), 0
  for bucket = math.max(from, past.oldest), math.min(to, b.bucket - 1) do
    sum = sum + (past[name][bucket - past.oldest + 1] or 0)
  end
  if to >= b.bucket then sum = sum + b.st[limit.at + (name == 'requests' and CUR_R or CUR_T)] end
  return sum
end

-- A limit that is refilled continuously: its deficit is carried from report to report, sub-bucket by sub-bucket.
local function expected_deficit(b, limit, name, d, report, n)
  if d.level < 0 or n - d.n >= limit.sub_buckets then
    d.n, d.level = n, math.max(0, report.used - booked(b, limit, name, n, n))
  end
  local refill = report.limit * SUB_MS / limit.period_ms
  for bucket = d.n, n - 1 do
    d.level = math.max(0, d.level + booked(b, limit, name, bucket, bucket) - refill)
  end
  d.n = n
  return d.level + booked(b, limit, name, n, n)
end

-- A limit that counts a window: one that slides, or one that begins anew at the moment that its resets agree on. nil when
-- that cannot be told: a provider that cuts the minute into slices reports what is left of a slice.
local function expected_use(b, limit, name, d, report, n, moment)
  if report.reset_ms > d.longest or shard.now - d.longest_at > 2 * limit.period_ms then
    d.longest, d.longest_at = report.reset_ms, shard.now
  end
  if d.longest < limit.period_ms / 2 then return nil end
  local ends = moment + report.reset_ms
  if shard.now - d.ends_at >= STEADY_MS then
    local moved = math.abs(ends - d.ends) % limit.period_ms
    d.fixed = d.ends_at > 0 and math.min(moved, limit.period_ms - moved) <= ROUNDED_MS
    d.ends, d.ends_at = ends, shard.now
  end
  if not d.fixed then
    report.used = report.used * (limit.period_ms - (shard.now - moment)) / limit.period_ms
    -- A call arrives later than it was booked: at the far edge ours may still count there, where it has slid out here.
    return booked(b, limit, name, n - limit.period_ms / SUB_MS - 1, n)
  end
  if ends < shard.now then return nil end
  return booked(b, limit, name, math.floor((ends - limit.period_ms) / SUB_MS), n)
end

-- Does the reset tell how long the deficit takes to refill? Only asked where the shapes would answer differently.
local function note_shape(d, limit, report)
  local refill_ms = report.used * limit.period_ms / report.limit
  local most_ms = 0.8 * limit.period_ms
  if report.used == 0 or refill_ms > most_ms and report.reset_ms > most_ms then return end
  local fits = math.abs(report.reset_ms - refill_ms) <= ROUNDED_MS
  d.score = math.max(-SURE, math.min(SURE, d.score + (fits and 1 or -1)))
end

-- A window that is full answers 429, whoever filled it: while others use it, it must not be filled to the last call. (What is
-- refilled continuously has no such edge.) Others come at random: three standard deviations of a Poisson process.
local function margin(limit, d, report, refilled)
  if refilled or d.others < FORGOTTEN * report.limit then return 0 end
  return math.ceil(MARGIN * report.limit + 3 * math.sqrt(d.others * LAG_MS / limit.period_ms))
end

-- Set what is left free for others. Answers whether the limit must be defined anew: small changes are not worth it.
function learned.keep(limit, d, report)
  d.others = d.others * math.exp((d.others_at - shard.now) / limit.period_ms)
  d.others_at = shard.now
  local kept = margin(limit, d, report, d.refilled)
  if kept == d.kept or kept > 0 and math.abs(kept - d.kept) < 0.005 * report.limit then return false end
  d.kept = kept
  return true
end

-- How much others used that no earlier report told of. report: {limit, used, reset_ms, rounded_to,
-- refilled, moment, refused (the connection was, of late)}.
function learned.others(b, limit, name, d, report)
  local n = math.floor(report.moment / SUB_MS)
  if report.reset_ms < 0 or n < d.n or n <= b.bucket - limit.sub_buckets + 1 then return 0 end
  if d.limit ~= report.limit then d.limit, d.level = report.limit, -1 end
  note_shape(d, limit, report)
  local refilled, expected = d.score > 0 or d.score == 0 and report.refilled, nil
  if refilled then
    expected = expected_deficit(b, limit, name, d, report, n)
  else
    expected, d.n, d.level = expected_use(b, limit, name, d, report, n, report.moment), n, -1
  end
  if not expected then return 0 end
  d.refilled = refilled
  local found = math.floor(report.used - expected - report.rounded_to)
  if d.others >= FORGOTTEN * report.limit then return math.max(0, found) end
  -- Nobody is known. A report may be wrong by what was under way for longer than usual, here or a minute ago: it passes.
  local worth = report.refused and WORTH_REFUSED or WORTH
  if found < worth * report.limit then
    d.worth_at = 0
  elseif d.worth_at == 0 then
    d.worth_at = shard.now
  elseif shard.now - d.worth_at >= SINCE_MS then
    return found
  end
  return 0
end

-- Book what others used.
function learned.book(b, limit, name, d, report, amount)
  d.others = d.others * math.exp((d.others_at - shard.now) / limit.period_ms)
  d.others_at = shard.now
  amount = math.min(amount, math.floor(MOST * report.limit - d.others))
  if amount <= 0 then return end
  d.others = d.others + amount
  local paced = math.min(amount, report.limit * PACED_MS / limit.period_ms)
  local requests = name == 'requests'
  window.book(b, limit, math.min(b.bucket, math.floor(report.moment / SUB_MS)), requests and amount or 0, requests and 0 or amount)
  pace.advance(b, limit, requests and paced or 0, requests and 0 or paced)
end
