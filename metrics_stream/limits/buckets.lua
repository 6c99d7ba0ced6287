-- Take from several buckets at once, or from none of them.
--
-- KEYS: the buckets; after them, optionally, a key whose existence lets the caller pass without taking anything.
-- ARGV: for each bucket the amount, the refill per second and the size.
-- Returns for each bucket the seconds to wait as text, "0" where there is enough.
local time = redis.call("TIME")
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local count = #ARGV / 3
local waits, left, refused = {}, {}, false

for index = 1, count do
  waits[index] = "0"
end
if KEYS[count + 1] and redis.call("EXISTS", KEYS[count + 1]) == 1 then
  return waits
end
for index = 1, count do
  local amount, per_second, size = tonumber(ARGV[3 * index - 2]), tonumber(ARGV[3 * index - 1]), tonumber(ARGV[3 * index])
  local before, at = string.match(redis.call("GET", KEYS[index]) or "", "^(%S+) (%S+)$")
  left[index] = math.min(size, (tonumber(before) or size) + math.max(0, now - (tonumber(at) or now)) * per_second)
  local missing = math.min(amount, size) - left[index]
  if missing > 1e-9 then
    waits[index], refused = string.format("%.6f", missing / per_second), true
  end
end
if not refused then
  for index = 1, count do
    local amount, per_second, size = tonumber(ARGV[3 * index - 2]), tonumber(ARGV[3 * index - 1]), tonumber(ARGV[3 * index])
    local rest = math.min(size, left[index] - amount)
    redis.call("SET", KEYS[index], string.format("%.6f %.6f", rest, now), "EX",
      math.max(1, math.ceil((size - rest) / per_second)))
  end
end
return waits
