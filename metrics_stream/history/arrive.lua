-- Note on which Redis the history is, before a new connection is used for it.
--
-- KEYS: the state. ARGV: the id of this Redis, which changes when its program starts, and the seconds of doubt after a
-- move. It writes only after a move: a Redis without memory still takes connections for reading.
local epoch, node = unpack(redis.call("HMGET", KEYS[1], "epoch", "node"))
if epoch and node ~= ARGV[1] then
  redis.call("HSET", KEYS[1], "node", ARGV[1])
  if node and node ~= "" then
    local time = redis.call("TIME")
    redis.call("HSET", KEYS[1], "doubt_until", string.format("%.6f", time[1] + time[2] / 1000000 + ARGV[2]))
  end
end
