-- What a key may do: requests in a minute, requests at once, tokens in a minute and in a day. The counts lie in a shared
-- dictionary, so all processes see the same, and a reload keeps them:
--   requests:NAME:MINUTE, tokens:NAME:MINUTE, tokens:NAME:day:DAY   counts; they expire by themselves
--   running:NAME:N                                                  place N of a key's requests at once, with its process
-- and in one of its own, which strangers may fill, the requests without a valid key by ADDRESS:MINUTE.
local slots = require 'gateway.slots'
local ffi = require 'gateway.ffi'
local floor, ceil = math.floor, math.ceil

local M = {}

local MINUTE, DAY = 60, 86400
-- How long a count outlives its window, for those that read it late.
local AFTERWARDS = 60

local dict, strangers, pid

function M.start(shared, shared_strangers, own_pid)
  dict, strangers, pid = shared, shared_strangers, own_pid
end

-- The names of this minute's and this day's counts are made once for all requests in it.
local function turn(key, now)
  local minute = floor(now / MINUTE)
  if key.minute == minute then return end
  key.minute = minute
  key.requests_name = 'requests:' .. key.name .. ':' .. minute
  key.tokens_name = 'tokens:' .. key.name .. ':' .. minute
  key.day_name = 'tokens:' .. key.name .. ':day:' .. floor(now / DAY)
end

local function rest_of(window, now)
  return ceil(window - now % window)
end

-- Lets a request in: true and its place (nil if the key has no bound); or nil, which limit it is, and in how many seconds
-- it is worth trying again.
function M.enter(key, now)
  turn(key, now)
  local most = key.tokens_per_day
  if most and (dict:get(key.day_name) or 0) >= most then return nil, 'tokens_per_day', rest_of(DAY, now) end
  most = key.tokens_per_minute
  if most and (dict:get(key.tokens_name) or 0) >= most then return nil, 'tokens_per_minute', rest_of(MINUTE, now) end

  local place
  most = key.concurrent
  if most then
    key.places = key.places or slots.names('running:' .. key.name .. ':', most)
    place = slots.take(dict, key.places, pid)
    if not place then return nil, 'concurrent', 1 end
  end

  most = key.requests_per_minute
  if most and dict:incr(key.requests_name, 1, 0, MINUTE + AFTERWARDS) > most then
    M.leave(key, place)
    return nil, 'requests_per_minute', rest_of(MINUTE, now)
  end
  return true, place
end

function M.leave(key, place)
  if place then slots.free(dict, key.places, place) end
end

-- Takes tokens off the key's account. What was open when the limit was reached is still served.
function M.spend(key, tokens, now)
  if tokens <= 0 then return end
  turn(key, now)
  if key.tokens_per_day then dict:incr(key.day_name, tokens, 0, DAY + AFTERWARDS) end
  if key.tokens_per_minute then dict:incr(key.tokens_name, tokens, 0, MINUTE + AFTERWARDS) end
end

-- Counts a request without a valid key; the seconds to wait if there were too many from this address.
function M.is_flooding(address, now, most)
  local minute = floor(now / MINUTE)
  if strangers:incr(address .. ':' .. minute, 1, 0, MINUTE + AFTERWARDS) > most then
    return rest_of(MINUTE, now)
  end
  return nil
end

-- Gives back the places of dead processes.
function M.sweep(own)
  return slots.sweep(dict, '^running:', ffi.is_alive, own)
end

-- The counts that outlive a restart, as lines.
function M.save(lines)
  for _, name in ipairs(dict:get_keys(0)) do
    if name:find '^requests:' or name:find '^tokens:' then
      local value, left = dict:get(name), dict:ttl(name)
      if value and left and left > 0 then
        lines[#lines + 1] = name .. '\t' .. value .. '\t' .. ceil(left)
      end
    end
  end
end

function M.restore(line, seconds_ago)
  local name, value, left = line:match '^(%S+)\t(%d+)\t(%d+)$'
  if name and left - seconds_ago > 0 then
    dict:add(name, tonumber(value), left - seconds_ago)
  end
end

return M
