-- period: the aligned UTC periods of quotas.

local DAY_MS = 86400000

-- The index of the aligned UTC period that holds now_ms; LIFETIME has one. WEEK starts on Monday (1970-01-01 was a
-- Thursday); MONTH counts from year 0 (days → civil date: Hinnant, "chrono-Compatible Low-Level Date Algorithms").
local function quota_index(code, now_ms)
  if code == 'H' then return math.floor(now_ms / 3600000) end
  if code == 'D' then return math.floor(now_ms / DAY_MS) end
  if code == 'W' then return math.floor((now_ms / DAY_MS + 3) / 7) end
  if code == 'L' then return 0 end
  local z = math.floor(now_ms / DAY_MS) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local mp = math.floor((5 * (doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))) + 2) / 153)
  return (yoe + era * 400) * 12 + mp
end
