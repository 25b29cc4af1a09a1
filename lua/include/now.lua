-- now: the one place where time enters a script. Tests replace this include by a clock that they set.

local function read_server_ms()
  local seconds_micros = redis.call('TIME')
  return seconds_micros[1] * 1000 + math.floor(seconds_micros[2] / 1000)
end
