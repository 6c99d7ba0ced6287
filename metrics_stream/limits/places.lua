-- Take places of several owners for a server process, or none of them.
--
-- KEYS[1]: a hash of the processes. The places of each stand in a hash of its own, KEYS[1].PROCESS: the number of places
-- of each owner, and an empty field that shows that the process lives. It expires unless the process renews it.
-- ARGV: the process, for how many seconds its places hold, and for each owner its name, the places that the process
-- then has of it, and the limit.
-- Returns the number of the first owner whose places are all taken, 0 if none.
local process, own = ARGV[1], KEYS[1] .. "." .. ARGV[1]
local names, taken = {""}, {}
for index = 3, #ARGV, 3 do
  table.insert(names, ARGV[index])
  table.insert(taken, tonumber(ARGV[index + 1]))
end
for _, other in ipairs(redis.call("HKEYS", KEYS[1])) do
  if other ~= process then
    local places = redis.call("HMGET", KEYS[1] .. "." .. other, unpack(names))
    if not places[1] then
      redis.call("HDEL", KEYS[1], other)
    end
    for index = 1, #taken do
      taken[index] = taken[index] + tonumber(places[index + 1] or 0)
    end
  end
end
for index = 1, #taken do
  if taken[index] > tonumber(ARGV[3 * index + 2]) then
    return index
  end
end
redis.call("HSET", KEYS[1], process, 1)
redis.call("HSET", own, "", 1)
for index = 3, #ARGV, 3 do
  redis.call("HSET", own, ARGV[index], ARGV[index + 1])
end
redis.call("EXPIRE", KEYS[1], 86400)
redis.call("EXPIRE", own, ARGV[2])
return 0
