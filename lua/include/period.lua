-- period: the aligned periods of quotas, in UTC or in the zone of a limit.

local DAY_MS = 86400000
local HOUR_MS = 3600000

-- The day (since 1970) of a civil date from March on (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
local function day_of(year, month, day)
  local era = math.floor(year / 400)
  local yoe = year - era * 400
  local doy = math.floor((153 * (month - 3) + 2) / 5) + day - 1
  return era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
end

-- The n-th Sunday from a day on (1970-01-01 was a Thursday).
local function sunday(day, n) return day + (7 - (day + 4) % 7) % 7 + 7 * (n - 1) end

-- What a zone adds to UTC at a time. 'us-pacific': -8 h, and -7 h from the second Sunday of March, 2:00, to the first
-- Sunday of November, 2:00 (Energy Policy Act of 2005).
local function zone_ms(zone, now_ms)
  if zone ~= 'us-pacific' then return 0 end
  local year = 1970 + math.floor(now_ms / (365.2425 * DAY_MS))
  local summer = sunday(day_of(year, 3, 1), 2) * DAY_MS + 10 * HOUR_MS
  local winter = sunday(day_of(year, 11, 1), 1) * DAY_MS + 9 * HOUR_MS
  return now_ms >= summer and now_ms < winter and -7 * HOUR_MS or -8 * HOUR_MS
end

-- The index of the aligned period that holds now_ms; LIFETIME has one. WEEK starts on Monday (1970-01-01 was a
-- Thursday); MONTH counts from year 0 (days → civil date: Hinnant, "chrono-Compatible Low-Level Date Algorithms").
local function quota_index(code, now_ms, zone)
  if code == 'H' then return math.floor(now_ms / HOUR_MS) end
  now_ms = now_ms + zone_ms(zone, now_ms)
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
