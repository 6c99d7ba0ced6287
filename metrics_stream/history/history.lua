-- The history in Redis. Each change and each read is one call of this script, so other calls cannot come between.
--
-- ARGV: the name of the operation, its request in MessagePack, and for `append` the metrics in MessagePack.
-- KEYS: the state, the active runs, and for `append` the last numbers of the producer. The names of other keys consist
-- of the name of the state, the epoch and the metric type, so that data of an earlier epoch is never mixed in:
--   (stream)           an entry for each batch; its id is the offset of its end, so XRANGE finds it by offset
--   .marks             sorted set: positions by time, as "offset:bytes", the numbers of metrics and bytes before it
--   .newest            sorted set: the keys of metrics by the offset of the newest metric of each
--   .newest_stretches  hash: these metrics, each as a batch of its own
--   .newest_shares     hash: the names of the shares that each of them counts for, and its bytes
--   .newest_bytes      hash: the bytes of each share
--   .newest_rows       hash: by the hash of a source and row, the key of the metric with the newest of it
--   .newest_packed     hash: the hashes of the rows of each key, one after the other
--   .newest_live       hash: of how many rows each key has the newest
--   .newest.SHARE      sorted set: the keys of one share, as in .newest
-- Beside the state stands .process.PROGRAM, a hash: the number of batches that one program has appended, by epoch.
-- (In the names of keys and fields a batch is a "stretch": a Redis may still hold data of earlier versions.)
--
-- Batches between two marks are dropped together. They cover at most `mark_seconds` and 1/MARKS of what may be kept,
-- unless it is a single batch.

local STATE, RUNS, PRODUCER = KEYS[1], KEYS[2], KEYS[3]
local request = cmsgpack.unpack(ARGV[2])

local MARKS = 64
-- Keys that nothing is added to expire this much later than necessary.
local SPARE_SECONDS = 60
-- Offsets continue after a long silence, since clients and recordings hold positions.
local STATE_SECONDS = 30 * 86400
-- Lua's stack holds a few thousand arguments.
local MANY = 1000
local EMPTY_MAP, NIL = "\128", "\192"
-- So long the reports on lost metrics are kept for the recorder, and a replaced epoch for its last reader.
local REPORT_SECONDS = 3600
local PAST_SECONDS = 60

local state = {}
local names_and_values = redis.call("HGETALL", STATE)
for index = 1, #names_and_values, 2 do
  state[names_and_values[index]] = names_and_values[index + 1]
end

local time = redis.call("TIME")
local clock = tonumber(time[1]) + tonumber(time[2]) / 1000000
-- Times must not decrease, also when the clock is set back.
local now = math.max(clock, tonumber(state.at or 0))

local function key(metric_type, part)
  return STATE .. "." .. state.epoch .. "." .. metric_type .. (part or "")
end

local function end_of(metric_type)
  return tonumber(state["end:" .. metric_type] or 0)
end

-- Epochs begin with a rising number: the time in milliseconds, or more if a clock was set back.
local function number_of(epoch)
  return tonumber(string.sub(epoch, 1, 13)) or 0
end

local function begin(after)
  local past = {}
  for field, head in pairs(state) do
    local metric_type = string.match(field, "^end:(.*)$")
    if metric_type then
      for _, share in ipairs(redis.call("HKEYS", key(metric_type, ".newest_bytes"))) do
        redis.call("UNLINK", key(metric_type, ".newest." .. share))
      end
      redis.call("UNLINK", key(metric_type, ".newest"), key(metric_type, ".newest_stretches"),
        key(metric_type, ".newest_shares"), key(metric_type, ".newest_bytes"), key(metric_type, ".newest_rows"),
        key(metric_type, ".newest_packed"), key(metric_type, ".newest_live"))
      -- The recorder still reads what it has not read of the epoch that ends.
      redis.call("EXPIRE", key(metric_type), PAST_SECONDS)
      redis.call("EXPIRE", key(metric_type, ".marks"), PAST_SECONDS)
      table.insert(past, "past_end:" .. metric_type)
      table.insert(past, head)
    end
  end
  if state.epoch then
    table.insert(past, "past")
    table.insert(past, state.epoch)
    -- The active runs may be as old as the rest of this copy.
    redis.call("DEL", RUNS)
  end
  now = clock
  local node = state.node or request.node or ""
  state = {epoch = string.format("%013.0f", math.max(math.floor(now * 1000), after + 1)) .. request.seed, node = node}
  redis.call("DEL", STATE)
  redis.call("HSET", STATE, "epoch", state.epoch, "node", node, unpack(past))
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

-- Return the number of metrics before the oldest that is young enough.
local function first_kept(metric_type)
  local mark = first_mark(metric_type, now - request.seconds)
  return mark and mark.offset or end_of(metric_type)
end

local function pack_map(map)
  if not map then
    return NIL
  end
  return next(map) and cmsgpack.pack(map) or EMPTY_MAP
end

-- Return a HistoryBatch; `metrics` is an array in MessagePack.
local function pack_batch(metric_type, first, order, metrics, runs)
  return "\152" .. cmsgpack.pack(metric_type, state.epoch, first, order, now) .. metrics .. pack_map(runs)
    .. cmsgpack.pack(request.owner)
end

-- Here stands newest.lua.

-- Drop what is too old, and make room for a batch that brings the type to `head` and `bytes`.
local function trim(metric_type, head, bytes)
  local marks = key(metric_type, ".marks")
  local dropped = redis.call("ZREMRANGEBYSCORE", marks, "-inf", string.format("(%.17g", now - request.seconds))
  local oldest = parse_mark(redis.call("ZRANGE", marks, 0, 0, "WITHSCORES"))
  -- Until the next mark, at most as much is added as stays free here.
  local share = 1 - 1 / MARKS
  while oldest and (head - oldest.offset > request.metrics * share or bytes - oldest.bytes > request.bytes * share) do
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
    forget_newest(newest, keys)
    keys = redis.call("ZRANGEBYSCORE", newest, "-inf", limit, "LIMIT", 0, MANY)
  end
end

-- Set a new mark if the last one is full; return whether a mark was set.
local function mark(metric_type, first, bytes_before, head, bytes)
  local marks = key(metric_type, ".marks")
  local last = parse_mark(redis.call("ZREVRANGE", marks, 0, 0, "WITHSCORES"))
  if last and now < last.at + request.mark_seconds and head - last.offset <= request.metrics / MARKS
    and bytes - last.bytes <= request.bytes / MARKS then
    return false
  end
  -- Before anything is added, since it frees memory if Redis has none left.
  trim(metric_type, head, bytes)
  -- Padded, since Redis sorts marks of the same instant by their text.
  redis.call("ZADD", marks, now, string.format("%016.0f:%.0f", first, bytes_before))
  return true
end

-- Return the ids of the active runs by source; nil if nobody has told this Redis yet which runs are active.
local function active_runs_of(sources)
  local active = redis.call("GET", RUNS)
  if not active then
    return nil
  end
  local found = {}
  for _, run in ipairs(cmsgpack.unpack(active)) do
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

-- Return an array of batches as one text, since redis-py reads a thousand texts slowly.
local function pack_batches(batches)
  local n = #batches
  return string.char(221, 0, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256) .. table.concat(batches)
end

-- Here stands failover.lua.

local operations = {}

function operations.append()
  local metric_type, metrics = request.metric_type, ARGV[3]
  follow_known()
  if is_in_doubt() then
    return redis.error_reply("ERR the history moved to another Redis and waits for what its producers know")
  end
  local field = metric_type .. ":" .. state.epoch
  local number, placed = string.match(redis.call("HGET", PRODUCER, field) or "", "^(%d+):(.*)$")
  number = tonumber(number)
  if number == request.number then
    return placed
  elseif number and number > request.number then
    return redis.error_reply(
      string.format("ERR the history got number %.0f of a producer after its number %.0f", request.number, number))
  end

  local first, bytes_before = end_of(metric_type), tonumber(state["bytes:" .. metric_type] or 0)
  local head, bytes, order = first + request.count, bytes_before + #metrics, tonumber(state.order or 0) + 1
  local is_marked = mark(metric_type, first, bytes_before, head, bytes)
  local runs = active_runs_of(request.sources)
  placed = "\149" .. cmsgpack.pack(state.epoch, first, order, now) .. pack_map(runs)

  -- First: if Redis forbids a later command, the batch is missing, but its offsets are not given again.
  redis.call("HSET", STATE, "order", order, "at", string.format("%.6f", now), "end:" .. metric_type,
    string.format("%.0f", head), "bytes:" .. metric_type, string.format("%.0f", bytes))
  local stream, newest = key(metric_type), key(metric_type, ".newest")
  redis.call("XADD", stream, string.format("%.0f-0", head), "order", order, "count", request.count,
    "stretch", pack_batch(metric_type, first, order, metrics, runs))
  local seconds = math.ceil(request.seconds) + SPARE_SECONDS
  keep_newest(metric_type, first, order, metrics, runs, seconds)
  redis.call("HSET", PRODUCER, field, string.format("%.0f:", request.number) .. placed)

  redis.call("EXPIRE", PRODUCER, seconds)
  if is_marked then
    for _, name in ipairs({stream, stream .. ".marks", newest, newest .. "_stretches", newest .. "_shares",
      newest .. "_bytes", newest .. "_rows", newest .. "_packed", newest .. "_live"}) do
      redis.call("EXPIRE", name, seconds)
    end
    redis.call("EXPIRE", STATE, STATE_SECONDS)
  end
  return placed
end

function operations.confirm()
  follow_known()
end

function operations.heads()
  local ends = {}
  for index, metric_type in ipairs(request.metric_types) do
    ends[index] = end_of(metric_type)
  end
  return cmsgpack.pack({state.epoch, ends})
end

-- Step to the next batch of a type. Fetch a few at a time, since most pages take only a few.
local function advance(reader)
  reader.index = reader.index + 1
  local entry = reader.entries[reader.index]
  if not entry then
    -- The entry with this offset as id ends there, so it comes before.
    local from = string.format("%.0f-1", reader.stop)
    reader.entries = redis.call("XRANGE", key(reader.metric_type), from, "+", "COUNT", reader.many)
    reader.index, reader.many = 1, math.min(reader.many * 2, 64)
    entry = reader.entries[1]
    if not entry then
      reader.batch = nil
      return
    end
    reader.stop = tonumber(string.match(entry[1], "^%d+")) - tonumber(entry[2][4])
  end
  local values = entry[2]
  reader.order, reader.count, reader.batch = tonumber(values[2]), tonumber(values[4]), values[6]
  reader.stop = reader.stop + reader.count
end

local function open_reader(metric_type, offset, limit)
  local head, lost = end_of(metric_type), 0
  if request.epoch ~= state.epoch then
    offset, lost = 0, -1
  elseif offset > head then
    offset, lost = head, -1
  end
  if request.until_epoch and request.until_epoch ~= state.epoch then
    limit = 0  -- no metric of this epoch came before a position of another one
  end
  limit = math.min(head, limit or head)
  local reader = {metric_type = metric_type, entries = {}, index = 0, many = 1, limit = limit}
  reader.stop = math.max(offset, first_kept(metric_type))
  advance(reader)
  local first = reader.batch and math.min(reader.stop - reader.count, limit) or limit
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
    if reader.batch and reader.reached < reader.limit and (not best or reader.order < best.order) then
      best = reader
    end
  end
  return best
end

-- Go back to the epoch of the request, if it is the one that was replaced last; else to one that is empty.
local function enter_past()
  local past = {epoch = request.epoch}
  for field, head in pairs(state.past == request.epoch and state or {}) do
    local metric_type = string.match(field, "^past_end:(.*)$")
    if metric_type then
      past["end:" .. metric_type] = head
    end
  end
  for _, item in ipairs(request.types) do
    -- What the request has read already is not lost, even if nothing is kept.
    local field = "end:" .. item[1]
    past[field] = math.max(tonumber(past[field] or 0), item[2])
  end
  state = past
end

function operations.since()
  if request.is_past then
    enter_past()
  end
  local readers, batches, metrics, bytes = {}, {}, 0, 0
  for index, item in ipairs(request.types) do
    readers[index] = open_reader(unpack(item))
  end
  local reader = first_in_order(readers)
  while reader do
    metrics, bytes = metrics + reader.count, bytes + #reader.batch
    if #batches > 0 and (metrics > request.max_metrics or bytes > request.max_bytes) then
      break
    end
    batches[#batches + 1] = reader.batch
    reader.reached = math.min(reader.stop, reader.limit)
    advance(reader)
    reader = first_in_order(readers)
  end
  local types = {}
  for index, item in ipairs(readers) do
    types[index] = {item.metric_type, item.reached, item.lost, item.limit}
  end
  return {cmsgpack.pack({state.epoch, reader == nil, types}), pack_batches(batches)}
end

function operations.since_time()
  local offsets = {}
  -- A metric after a mark was published within `mark_seconds` of it, or comes after the next mark.
  local from = math.max(request.instant - request.mark_seconds, now - request.seconds)
  for index, metric_type in ipairs(request.metric_types) do
    local found = first_mark(metric_type, from)
    offsets[index] = found and found.offset or end_of(metric_type)
  end
  return cmsgpack.pack({state.epoch, offsets})
end

function operations.newest()
  local batches, bytes, left = {}, 0, {}
  for _, item in ipairs(request.types) do
    local metric_type, from = unpack(item)
    if request.epoch ~= state.epoch then
      from = 0
    end
    local newest, room = key(metric_type, ".newest"), request.max_metrics - #batches
    from = math.max(from, first_kept(metric_type))
    local found = bytes < request.max_bytes and room > 0 and redis.call("ZRANGEBYSCORE", newest,
      string.format("%.0f", from), "+inf", "WITHSCORES", "LIMIT", 0, room) or {}
    local keys = {}
    for index = 1, #found, 2 do
      table.insert(keys, found[index])
    end
    local values, taken = keys[1] and redis.call("HMGET", newest .. "_stretches", unpack(keys)) or {}, 0
    while taken < #keys and bytes < request.max_bytes do
      taken = taken + 1
      from = tonumber(found[2 * taken]) + 1
      if values[taken] then
        table.insert(batches, values[taken])
        bytes = bytes + #values[taken]
      end
    end
    if bytes >= request.max_bytes or #keys == room or room <= 0 then
      table.insert(left, {metric_type, from})
    end
  end
  -- An empty table is a map to cmsgpack.
  return {"\146" .. cmsgpack.pack(state.epoch) .. (left[1] and cmsgpack.pack(left) or "\144"), pack_batches(batches)}
end

function operations.oldest_at()
  local oldest
  for _, metric_type in ipairs(request.metric_types) do
    local found = first_mark(metric_type, now - request.seconds)
    if found and (not oldest or found.at < oldest) then
      oldest = found.at
    end
  end
  return cmsgpack.pack(oldest)
end

function operations.clock()
  return cmsgpack.pack(clock)
end

-- Note that an installation uses this Redis; return all that did so lately.
function operations.announce()
  local installations = STATE .. ".installations"
  redis.call("ZADD", installations, clock, request.installation)
  redis.call("ZREMRANGEBYSCORE", installations, "-inf", string.format("(%.17g", clock - request.gone_seconds))
  redis.call("EXPIRE", installations, math.ceil(request.gone_seconds))
  return redis.call("ZRANGE", installations, 0, -1)
end

-- Keep what a producer says of the metrics that an earlier epoch had taken, until the recorder has counted it.
function operations.report_lost()
  local reports = STATE .. ".lost"
  redis.call("HSET", reports, request.field, ARGV[3])
  redis.call("EXPIRE", reports, REPORT_SECONDS)
end

function operations.lost_reports()
  return redis.call("HGETALL", STATE .. ".lost")
end

function operations.drop_lost_reports()
  for _, field in ipairs(request.fields) do
    redis.call("HDEL", STATE .. ".lost", field)
  end
end

return operations[ARGV[1]]()
