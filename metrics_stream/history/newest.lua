-- The part of history.lua that keeps the newest metric of each key within the shares of sources and tokens.

-- Call a command with a list of arguments, however many they are: an even number, so that pairs stay together.
local function call_with(command, name, arguments)
  for start = 1, #arguments, MANY do
    redis.call(command, name, unpack(arguments, start, math.min(start + MANY - 1, #arguments)))
  end
end

-- Return the shares and the bytes of a newest metric from its entry in .newest_shares.
local function parse_shares(entry)
  local names, bytes = string.match(entry or "", "^([^:]*):(%d+)$")
  local shares = {}
  for share in string.gmatch(names or "", "[^,]+") do
    table.insert(shares, share)
  end
  return shares, tonumber(bytes) or 0
end

-- Take these keys out of their shares.
local function leave_shares(newest, keys)
  for start = 1, #keys, MANY do
    local last = math.min(start + MANY - 1, #keys)
    for index, entry in ipairs(redis.call("HMGET", newest .. "_shares", unpack(keys, start, last))) do
      local shares, bytes = parse_shares(entry or nil)
      for _, share in ipairs(shares) do
        redis.call("ZREM", newest .. "." .. share, keys[start + index - 1])
        if redis.call("HINCRBY", newest .. "_bytes", share, -bytes) <= 0 then
          redis.call("HDEL", newest .. "_bytes", share)
        end
      end
    end
  end
end

-- The names of rows are hashes of ROW_LENGTH characters; a list of them is one text.
local ROW_LENGTH = 12

local function split_rows(packed)
  local rows = {}
  for start = 1, #packed, ROW_LENGTH do
    table.insert(rows, string.sub(packed, start, start + ROW_LENGTH - 1))
  end
  return rows
end

-- Return which key has the newest of each row; false for a row that no metric has had.
local function holders_of(newest, rows)
  local holders = {}
  for start = 1, #rows, MANY do
    local last = math.min(start + MANY - 1, #rows)
    for index, holder in ipairs(redis.call("HMGET", newest .. "_rows", unpack(rows, start, last))) do
      holders[start + index - 1] = holder
    end
  end
  return holders
end

-- Take the rows of these keys out of .newest_rows, as far as they have the newest of them.
local function leave_rows(newest, keys)
  for start = 1, #keys, MANY do
    local last = math.min(start + MANY - 1, #keys)
    for index, packed in ipairs(redis.call("HMGET", newest .. "_packed", unpack(keys, start, last))) do
      if packed then
        local rows, own = split_rows(packed), {}
        for place, holder in ipairs(holders_of(newest, rows)) do
          if holder == keys[start + index - 1] then
            table.insert(own, rows[place])
          end
        end
        call_with("HDEL", newest .. "_rows", own)
      end
    end
  end
  call_with("HDEL", newest .. "_packed", keys)
  call_with("HDEL", newest .. "_live", keys)
end

local function forget_newest(newest, keys)
  leave_rows(newest, keys)
  leave_shares(newest, keys)
  call_with("HDEL", newest .. "_shares", keys)
  call_with("HDEL", newest .. "_stretches", keys)
  call_with("ZREM", newest, keys)
end

-- Drop the oldest keys of a share until it is within its limits.
local function shrink(newest, share, max_keys)
  local name = newest .. "." .. share
  local excess = redis.call("ZCARD", name) - max_keys
  if excess > 0 then
    forget_newest(newest, redis.call("ZRANGE", name, 0, excess - 1))
  end
  while tonumber(redis.call("HGET", newest .. "_bytes", share) or 0) > request.share_bytes
    and redis.call("ZCARD", name) > 1 do
    forget_newest(newest, redis.call("ZRANGE", name, 0, 0))
  end
end

-- Note that a key has the newest of all its rows; forget the keys that have the newest of no row any more.
local function hold_rows(newest, name, packed)
  local rows, taken, lost = split_rows(packed), {}, {}
  for place, holder in ipairs(holders_of(newest, rows)) do
    if holder ~= name then
      table.insert(taken, rows[place])
      table.insert(taken, name)
      if holder then
        lost[holder] = (lost[holder] or 0) + 1
      end
    end
  end
  if #taken == 0 then
    return
  end
  call_with("HSET", newest .. "_rows", taken)
  redis.call("HSET", newest .. "_packed", name, packed)
  redis.call("HINCRBY", newest .. "_live", name, #taken / 2)
  for holder, count in pairs(lost) do
    if redis.call("HINCRBY", newest .. "_live", holder, -count) <= 0 then
      forget_newest(newest, {holder})
    end
  end
end

-- Keep the newest metric of each key in a batch, within the shares of its sources and its owner.
local function keep_newest(metric_type, first, order, metrics, runs, seconds)
  local newest = key(metric_type, ".newest")
  local keys, offsets, batches, entries, by_share, limits = {}, {}, {}, {}, {}, {}
  for _, item in ipairs(request.newest) do
    local name, index, start, length, source, shares, _ = unpack(item)
    local body = "\145" .. string.sub(metrics, start + 1, start + length)
    table.insert(keys, name)
    table.insert(offsets, first + index)
    table.insert(offsets, name)
    table.insert(batches, name)
    table.insert(batches, pack_batch(metric_type, first + index, order, body, runs and {[source] = runs[source]}))
    table.insert(entries, name)
    table.insert(entries, table.concat(shares, ",") .. ":" .. length)
    for place, share in ipairs(shares) do
      local group = by_share[share] or {offsets = {}, bytes = 0}
      by_share[share], limits[share] = group, request.share_kinds[place]
      table.insert(group.offsets, first + index)
      table.insert(group.offsets, name)
      group.bytes = group.bytes + length
    end
  end
  leave_shares(newest, keys)
  call_with("ZADD", newest, offsets)
  call_with("HSET", newest .. "_stretches", batches)
  call_with("HSET", newest .. "_shares", entries)
  for _, item in ipairs(request.newest) do
    if item[7] ~= "" then
      hold_rows(newest, item[1], item[7])
    end
  end
  for share, group in pairs(by_share) do
    call_with("ZADD", newest .. "." .. share, group.offsets)
    -- Counted anew whenever nothing else is in the share: a Redis without memory may have evicted it.
    local is_new = redis.call("ZCARD", newest .. "." .. share) == #group.offsets / 2
    redis.call(is_new and "HSET" or "HINCRBY", newest .. "_bytes", share, group.bytes)
    shrink(newest, share, limits[share])
    redis.call("EXPIRE", newest .. "." .. share, seconds)
  end
end
