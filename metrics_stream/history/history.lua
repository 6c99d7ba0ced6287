-- The history in Redis: every change and every look at it is one call of this script, so nothing comes between.
--
-- ARGV: the name of the operation, its question in MessagePack, and for `append` the metrics in MessagePack.
-- KEYS: the state, the active runs, and for `append` what is remembered of the producer. The names of the others are
-- made from the state's, the epoch and the metric type, so that what an earlier epoch left behind is never mixed in:
--   (stream)           an entry for each stretch; its id is the offset of its end, so XRANGE finds it by offset
--   .marks             sorted set: places by time, "offset:bytes" being what came before the place
--   .newest            sorted set: the keys of metrics by the offset of the newest metric of each
--   .newest_stretches  hash: these metrics, each as a stretch of its own
--
-- What lies between two marks is dropped at once. It is at most `mark_seconds` and 1/MARKS of what may be kept, unless
-- it is a single stretch.

local STATE, RUNS, PRODUCER = KEYS[1], KEYS[2], KEYS[3]
local ask = cmsgpack.unpack(ARGV[2])

local MARKS = 64
-- What nothing is added to any more goes so much later than it could.
local SPARE_SECONDS = 60
-- The numbers go on after a long silence: clients and recordings hold places in them.
local STATE_SECONDS = 30 * 86400
-- Lua's stack takes a few thousand arguments.
local MANY = 1000
local EMPTY_MAP = "\128"

local state = {}
local names_and_values = redis.call("HGETALL", STATE)
for index = 1, #names_and_values, 2 do
  state[names_and_values[index]] = names_and_values[index + 1]
end

local time = redis.call("TIME")
local clock = tonumber(time[1]) + tonumber(time[2]) / 1000000
-- In the order of publishing, also when the clock is set back.
local now = math.max(clock, tonumber(state.at or 0))

local function key(metric_type, part)
  return STATE .. "." .. state.epoch .. "." .. metric_type .. (part or "")
end

local function end_of(metric_type)
  return tonumber(state["end:" .. metric_type] or 0)
end

-- Epochs begin with a number that rises: the time in milliseconds, or more where a clock was set back.
local function number_of(epoch)
  return tonumber(string.sub(epoch, 1, 13)) or 0
end

local function begin(after)
  for field in pairs(state) do
    local metric_type = string.match(field, "^end:(.*)$")
    if metric_type then
      redis.call("UNLINK", key(metric_type), key(metric_type, ".marks"), key(metric_type, ".newest"),
        key(metric_type, ".newest_stretches"))
    end
  end
  now = clock
  state = {epoch = string.format("%013.0f", math.max(math.floor(now * 1000), after + 1)) .. ask.seed}
  redis.call("DEL", STATE)
  redis.call("HSET", STATE, "epoch", state.epoch)
  redis.call("EXPIRE", STATE, STATE_SECONDS)
end

if not state.epoch then
  begin(0)
end

local function parse_mark(found)
  if not found[1] then
    return nil
  end
  local offset, bytes = string.match(found[1], "^(%d+):(%d+)$")
  return {offset = tonumber(offset), bytes = tonumber(bytes), at = tonumber(found[2])}
end

local function first_mark(metric_type, from)
  return parse_mark(redis.call("ZRANGEBYSCORE", key(metric_type, ".marks"), from, "+inf", "WITHSCORES", "LIMIT", 0, 1))
end

-- How many metrics came before the oldest that is young enough.
local function first_kept(metric_type)
  local mark = first_mark(metric_type, now - ask.seconds)
  return mark and mark.offset or end_of(metric_type)
end

-- Drop what is too old, and make room for what brings the type to `head` and `bytes`.
local function trim(metric_type, head, bytes)
  local marks = key(metric_type, ".marks")
  local dropped = redis.call("ZREMRANGEBYSCORE", marks, "-inf", string.format("(%.17g", now - ask.seconds))
  local oldest = parse_mark(redis.call("ZRANGE", marks, 0, 0, "WITHSCORES"))
  -- Until the next mark, no more is added than what is left free here.
  local share = 1 - 1 / MARKS
  while oldest and (head - oldest.offset > ask.metrics * share or bytes - oldest.bytes > ask.bytes * share) do
    dropped = dropped + redis.call("ZREMRANGEBYRANK", marks, 0, 0)
    oldest = parse_mark(redis.call("ZRANGE", marks, 0, 0, "WITHSCORES"))
  end
  if dropped == 0 then
    return
  end
  local first = oldest and oldest.offset or end_of(metric_type)
  redis.call("XTRIM", key(metric_type), "MINID", string.format("%.0f-0", first + 1))
  local newest, limit = key(metric_type, ".newest"), string.format("(%.0f", first)
  local keys = redis.call("ZRANGEBYSCORE", newest, "-inf", limit, "LIMIT", 0, MANY)
  while keys[1] do
    redis.call("HDEL", newest .. "_stretches", unpack(keys))
    redis.call("ZREM", newest, unpack(keys))
    keys = redis.call("ZRANGEBYSCORE", newest, "-inf", limit, "LIMIT", 0, MANY)
  end
end

-- Begin a new mark where the last one is full, and return whether it did.
local function mark(metric_type, first, bytes_before, head, bytes)
  local marks = key(metric_type, ".marks")
  local last = parse_mark(redis.call("ZREVRANGE", marks, 0, 0, "WITHSCORES"))
  if last and now < last.at + ask.mark_seconds and head - last.offset <= ask.metrics / MARKS
    and bytes - last.bytes <= ask.bytes / MARKS then
    return false
  end
  -- First of all, since it frees memory where Redis has none left.
  trim(metric_type, head, bytes)
  -- Padded, since marks of the same instant are in the order of their texts.
  redis.call("ZADD", marks, now, string.format("%016.0f:%.0f", first, bytes_before))
  return true
end

local function active_runs_of(sources)
  local active = redis.call("GET", RUNS)
  local found = {}
  for _, run in ipairs(active and cmsgpack.unpack(active) or {}) do
    local id, its_sources = run[1], {}
    for _, source in ipairs(run[2]) do
      its_sources[source] = true
    end
    for _, source in ipairs(sources) do
      if its_sources[source] or not next(its_sources) then
        found[source] = found[source] or {}
        table.insert(found[source], id)
      end
    end
  end
  return found
end

local function pack_map(map)
  return next(map) and cmsgpack.pack(map) or EMPTY_MAP
end

-- Return a Stretch; `metrics` is an array in MessagePack.
local function pack_stretch(metric_type, first, order, metrics, runs)
  return "\151" .. cmsgpack.pack(metric_type, state.epoch, first, order, now) .. metrics .. pack_map(runs)
end

-- Return an array of stretches: one text for all, since redis-py reads a thousand texts slowly.
local function pack_stretches(stretches)
  local n = #stretches
  return string.char(221, 0, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256) .. table.concat(stretches)
end

local function is_behind_known()
  if ask.known_epoch ~= state.epoch then
    return number_of(ask.known_epoch) > number_of(state.epoch)
  end
  for metric_type, offset in pairs(ask.known_offsets) do
    if offset > end_of(metric_type) then
      return true
    end
  end
  return false
end

local operations = {}

function operations.append()
  local metric_type, metrics = ask.metric_type, ARGV[3]
  if is_behind_known() then
    begin(math.max(number_of(ask.known_epoch), number_of(state.epoch)))
  end
  local field = metric_type .. ":" .. state.epoch
  local number, placed = string.match(redis.call("HGET", PRODUCER, field) or "", "^(%d+):(.*)$")
  number = tonumber(number)
  if number == ask.number then
    return placed
  elseif number and number > ask.number then
    return redis.error_reply(
      string.format("ERR the history got number %.0f of a producer after its number %.0f", ask.number, number))
  end

  local first, bytes_before = end_of(metric_type), tonumber(state["bytes:" .. metric_type] or 0)
  local head, bytes, order = first + ask.count, bytes_before + #metrics, tonumber(state.order or 0) + 1
  local is_marked = mark(metric_type, first, bytes_before, head, bytes)
  local runs = active_runs_of(ask.sources)
  placed = "\149" .. cmsgpack.pack(state.epoch, first, order, now) .. pack_map(runs)

  local stream, newest = key(metric_type), key(metric_type, ".newest")
  redis.call("XADD", stream, string.format("%.0f-0", head), "order", order, "count", ask.count,
    "stretch", pack_stretch(metric_type, first, order, metrics, runs))
  local offsets, stretches = {}, {}
  for _, item in ipairs(ask.newest) do
    local name, index, start, length, source = unpack(item)
    local body = "\145" .. string.sub(metrics, start + 1, start + length)
    table.insert(offsets, first + index)
    table.insert(offsets, name)
    table.insert(stretches, name)
    table.insert(stretches, pack_stretch(metric_type, first + index, order, body, {[source] = runs[source]}))
  end
  redis.call("ZADD", newest, unpack(offsets))
  redis.call("HSET", newest .. "_stretches", unpack(stretches))
  redis.call("HSET", STATE, "order", order, "at", string.format("%.6f", now), "end:" .. metric_type,
    string.format("%.0f", head), "bytes:" .. metric_type, string.format("%.0f", bytes))
  redis.call("HSET", PRODUCER, field, string.format("%.0f:", ask.number) .. placed)

  local seconds = math.ceil(ask.seconds) + SPARE_SECONDS
  redis.call("EXPIRE", PRODUCER, seconds)
  if is_marked then
    for _, name in ipairs({stream, stream .. ".marks", newest, newest .. "_stretches"}) do
      redis.call("EXPIRE", name, seconds)
    end
    redis.call("EXPIRE", STATE, STATE_SECONDS)
  end
  return placed
end

function operations.heads()
  local ends = {}
  for index, metric_type in ipairs(ask.metric_types) do
    ends[index] = end_of(metric_type)
  end
  return cmsgpack.pack({state.epoch, ends})
end

-- Step to the next stretch of a type: a few at a time are fetched, since most pages take only few.
local function advance(reader)
  reader.index = reader.index + 1
  local entry = reader.entries[reader.index]
  if not entry then
    -- The entry whose id is the offset ends there, and is before this one.
    local from = string.format("%.0f-1", reader.stop)
    reader.entries = redis.call("XRANGE", key(reader.metric_type), from, "+", "COUNT", reader.many)
    reader.index, reader.many = 1, math.min(reader.many * 2, 64)
    entry = reader.entries[1]
    if not entry then
      reader.stretch = nil
      return
    end
    reader.stop = tonumber(string.match(entry[1], "^%d+")) - tonumber(entry[2][4])
  end
  local values = entry[2]
  reader.order, reader.count, reader.stretch = tonumber(values[2]), tonumber(values[4]), values[6]
  reader.stop = reader.stop + reader.count
end

local function open_reader(metric_type, offset, limit)
  local head, lost = end_of(metric_type), 0
  if ask.epoch ~= state.epoch then
    offset, lost = 0, -1
  elseif offset > head then
    offset, lost = head, -1
  end
  if ask.until_epoch and ask.until_epoch ~= state.epoch then
    limit = 0  -- nothing in this epoch came before a place in another one
  end
  limit = math.min(head, limit or head)
  local reader = {metric_type = metric_type, entries = {}, index = 0, many = 1, limit = limit}
  reader.stop = math.max(offset, first_kept(metric_type))
  advance(reader)
  local first = reader.stretch and math.min(reader.stop - reader.count, limit) or limit
  if first > offset and lost == 0 then
    lost = first - offset
  end
  reader.reached, reader.lost = math.max(offset, first), lost
  return reader
end

local function first_in_order(readers)
  local best
  for index = 1, #readers do
    local reader = readers[index]
    if reader.stretch and reader.reached < reader.limit and (not best or reader.order < best.order) then
      best = reader
    end
  end
  return best
end

function operations.since()
  local readers, stretches, metrics, bytes = {}, {}, 0, 0
  for index, item in ipairs(ask.types) do
    readers[index] = open_reader(unpack(item))
  end
  local reader = first_in_order(readers)
  while reader do
    metrics, bytes = metrics + reader.count, bytes + #reader.stretch
    if #stretches > 0 and (metrics > ask.max_metrics or bytes > ask.max_bytes) then
      break
    end
    stretches[#stretches + 1] = reader.stretch
    reader.reached = math.min(reader.stop, reader.limit)
    advance(reader)
    reader = first_in_order(readers)
  end
  local types = {}
  for index, item in ipairs(readers) do
    types[index] = {item.metric_type, item.reached, item.lost, item.limit}
  end
  return {cmsgpack.pack({state.epoch, reader == nil, types}), pack_stretches(stretches)}
end

function operations.since_time()
  local offsets = {}
  -- All behind a mark was published within `mark_seconds` of it, or is behind the next one.
  local from = math.max(ask.instant - ask.mark_seconds, now - ask.seconds)
  for index, metric_type in ipairs(ask.metric_types) do
    local found = first_mark(metric_type, from)
    offsets[index] = found and found.offset or end_of(metric_type)
  end
  return cmsgpack.pack({state.epoch, offsets})
end

function operations.newest()
  local stretches = {}
  for _, metric_type in ipairs(ask.metric_types) do
    local newest = key(metric_type, ".newest")
    local keys = redis.call("ZRANGEBYSCORE", newest, first_kept(metric_type), "+inf")
    for start = 1, #keys, MANY do
      local last = math.min(start + MANY - 1, #keys)
      for _, stretch in ipairs(redis.call("HMGET", newest .. "_stretches", unpack(keys, start, last))) do
        if stretch then
          table.insert(stretches, stretch)
        end
      end
    end
  end
  return pack_stretches(stretches)
end

function operations.oldest_at()
  local oldest
  for _, metric_type in ipairs(ask.metric_types) do
    local found = first_mark(metric_type, now - ask.seconds)
    if found and (not oldest or found.at < oldest) then
      oldest = found.at
    end
  end
  return cmsgpack.pack(oldest)
end

return operations[ARGV[1]]()
