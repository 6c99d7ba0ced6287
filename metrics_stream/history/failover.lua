-- The part of history.lua that finds out whether this Redis lacks what an earlier one had taken: a replica may be behind
-- its primary when it takes over, and a copy on disk is of an earlier moment.
--
-- What is missing was given offsets that would be given again, with another meaning. So a new epoch begins as soon as a
-- program says that it has seen more than there is, or that more of its batches were taken. Others could append before
-- it says so: after the history has moved to another Redis, nothing is taken for a while, unless a new epoch begins.
-- arrive.lua notices the move.

-- Count a batch of the program; return how many of its batches this epoch had taken before.
local function count_batch()
  local program = STATE .. ".process." .. request.program
  local count = redis.call("HINCRBY", program, state.epoch, 1)
  redis.call("EXPIRE", program, math.ceil(request.seconds) + SPARE_SECONDS)
  return count - 1
end

local function is_behind_known()
  if request.program and request.accepted_epoch == state.epoch and count_batch() < request.accepted then
    return true
  end
  if request.known_epoch ~= state.epoch then
    return number_of(request.known_epoch) > number_of(state.epoch)
  end
  for metric_type, offset in pairs(request.known_offsets) do
    if offset > end_of(metric_type) then
      return true
    end
  end
  return false
end

-- Begin a new epoch if this Redis lacks what the program of the request knows.
local function follow_known()
  local counted = state.epoch
  if is_behind_known() then
    begin(math.max(number_of(request.known_epoch), number_of(state.epoch)))
  end
  if request.program and (request.accepted_epoch ~= counted or state.epoch ~= counted) then
    count_batch()
  end
end

local function is_in_doubt()
  return clock < tonumber(state.doubt_until or 0)
end
