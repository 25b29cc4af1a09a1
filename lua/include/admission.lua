-- admission: which budgets keep an entry waiting, and through which target it may go.
--
-- `ahead` names an entry that holds its place: {cost, budget id}. Who goes before it there must not delay it.

local admission = { crowded = {}, open_slots = 0 }

local UNDEFINED_MS = 1000 -- a budget that is not defined yet is looked at again
local CROWDED_MS = 50 -- a queue refused for its crowded connection is looked at again

-- How long one budget keeps an entry waiting that claims at start tag vt (0: not, -1: for ever), and the budget.
local function wait_on(id, e, vt, ahead)
  local b = budget.load(id)
  if not b then return UNDEFINED_MS end
  local wait = budget.wait(b, e)
  if wait ~= 0 then return wait, b end
  local head = ahead and ahead.id == id and ahead.cost or parking.head(b, vt)
  if head and head.tokens > e.tokens and hold.open(b, head) and not hold.lets_pass(b, head, e) then
    return math.max(1, budget.wait(b, head)), b
  end
  return 0, b
end

-- The first of some budgets that blocks an entry: its id and wait; or nil, nil, and one that can never admit it.
local function first_block(ids, e, vt, ahead, binding)
  local never
  for _, id in ipairs(ids) do
    local wait, b = wait_on(id, e, vt, ahead)
    if wait > 0 then return id, wait end
    if wait < 0 then never = id end
    binding[#binding + 1] = b
  end
  return nil, nil, never
end

-- How long one target keeps the entry waiting: by its connection, by what was learned of its model there, or by what its
-- pool may use of it. Answers the wait, the budget that it is due to, and all that must be reserved.
local function target_wait(q, i, e, ahead)
  local id = q.def.targets[i]
  local wait, connection = wait_on(id, e, q.vt, ahead)
  if wait == 0 and admission.crowded[id] and admission.open_slots <= 0 then wait = CROWDED_MS end
  if wait ~= 0 then return wait, id, { connection } end
  local budgets = { connection }
  for _, more in ipairs({ q.def.models[i] or '', q.def.pools[i] or '' }) do
    if more ~= '' and budget.load(more) then
      local more_wait, b = wait_on(more, e, q.vt, ahead)
      if more_wait ~= 0 then return more_wait, more, budgets end
      budgets[#budgets + 1] = b
    end
  end
  return 0, id, budgets
end

-- Does the queue's pool use less of the minute of its target than its smallest share?
function admission.below_share(q, found)
  if q.def.min_share <= 0 then return false end
  local pool = budget.load(q.def.pools[found.target + 1] or '')
  for _, part in ipairs(pool and pool.def.limits or {}) do
    for _, whole in ipairs(found.connection.def.limits) do
      if whole.code == part.code and window.below(pool, part, q.def.min_share * whole.requests, q.def.min_share * whole.tokens) then
        return true
      end
    end
  end
  return false
end

-- May an entry start? Answers one of
--   {target, connection, budgets}        yes, on that target (from 0), reserving on all of these budgets
--   {blocked = 'flow' | 'queue', by}     no: a list of {budget id, wait_ms}, of the flow or of its queue
--   {never = id}                         it can never fit that budget
function admission.try(q, f, e, ahead)
  local binding = {}
  local by, wait, never = first_block(f.budgets, e, f.vt, ahead, binding)
  if by then return { blocked = 'flow', by = { { by, wait } } } end
  local queue_by, queue_wait, queue_never = first_block(q.def.budgets, e, q.vt, ahead, binding)
  if queue_by then return { blocked = 'queue', by = { { queue_by, queue_wait } } } end
  never = never or queue_never
  local targets, blocked = q.def.targets, {}
  local first = math.min(e.target + 1, #targets)
  local target_never
  for i = first, #targets do
    local target_ms, target_by, budgets = target_wait(q, i, e, ahead)
    if target_ms == 0 then
      if never then return { never = never } end
      for _, b in ipairs(budgets) do binding[#binding + 1] = b end
      return { target = i - 1, connection = budgets[1], budgets = binding }
    end
    if target_ms < 0 then target_never = target_by else blocked[#blocked + 1] = { target_by, target_ms } end
    -- Without spill the next one serves only where this one is shut.
    local b = budget.load(target_by)
    if not q.def.spill and not (b and budget.shut(b)) then break end
  end
  if #blocked > 0 then return { blocked = 'queue', by = blocked } end
  return { never = never or target_never }
end

-- Reserve for an entry what `try` found. Answers the ids of its budgets and the pauses that it probes.
function admission.reserve(q, e, found)
  local ids, probes = {}, {}
  for i, b in ipairs(found.budgets) do
    ids[i] = b.id
    local probed = budget.reserve(b, e)
    if probed > 0 then probes[#probes + 1], probes[#probes + 2] = b.id, probed end
  end
  if admission.crowded[found.connection.id] then admission.open_slots = admission.open_slots - 1 end
  found.connection.v = math.max(found.connection.v, q.vt)
  return ids, probes
end
