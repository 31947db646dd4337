-- Who has used how much: requests and tokens of each key and model on each day (UTC), in a shared dictionary:
--   DAY KEY MODEL what    a count; what: requests, in, out, estimated (of prompts whose tokens
--                         the engine never told; not part of `in`)
--   open PID ID KEY MODEL tokens that an open stream has brought so far: booked if its process is killed
local ffi = require 'gateway.ffi'
local floor = math.floor

local M = {}

local DAY = 86400
local LIVES = 3 * DAY
M.HEADER = 'key\tmodel\trequests\ttokens_in\ttokens_out\ttokens_in_estimated'

local dict, pid

function M.start(shared, own_pid)
  dict, pid = shared, own_pid
end

function M.day(now)
  return os.date('!%Y-%m-%d', now)
end

-- The names of a key's counts with one model today: made once.
local function names_of(key, model, now)
  local day = floor(now / DAY)
  local usage = key.usage
  if not usage or usage.day ~= day then
    usage = { day = day, models = {} }
    key.usage = usage
  end
  local names = usage.models[model]
  if not names then
    local start = M.day(now) .. ' ' .. key.name .. ' ' .. model .. ' '
    names = {
      requests = start .. 'requests', tokens_in = start .. 'in', tokens_out = start .. 'out',
      estimated = start .. 'estimated',
    }
    usage.models[model] = names
  end
  return names
end

-- Books a request that has ended. `estimated`: tokens of the prompt that the engine has not told.
function M.record(key, model, tokens_in, tokens_out, estimated, now)
  local names = names_of(key, model, now)
  dict:incr(names.requests, 1, 0, LIVES)
  if tokens_in > 0 then dict:incr(names.tokens_in, tokens_in, 0, LIVES) end
  if tokens_out > 0 then dict:incr(names.tokens_out, tokens_out, 0, LIVES) end
  if estimated > 0 then dict:incr(names.estimated, estimated, 0, LIVES) end
end

-- The name under which an open stream is known.
function M.open_name(key, model, id)
  return 'open ' .. pid .. ' ' .. id .. ' ' .. key.name .. ' ' .. model
end

function M.progress(name, tokens)
  dict:incr(name, tokens, 0)
end

function M.close(name)
  dict:delete(name)
end

-- Books what the streams of killed processes had brought; returns a list of {id, key, model, tokens}.
function M.sweep(now, own)
  local found = {}
  for _, name in ipairs(dict:get_keys(0)) do
    local process, id, key, model = name:match '^open (%d+) (%S+) (%S+) (.+)$'
    process = tonumber(process)
    if process and (process == own or not ffi.is_alive(process)) then
      local tokens = dict:get(name)
      dict:delete(name)
      if tokens then
        M.record({ name = key }, model, 0, tokens, 0, now)
        found[#found + 1] = { id = id, key = key, model = model, tokens = tokens }
      end
    end
  end
  return found
end

-- The counts of one day ("2026-11-27") as lines, in the order of the names.
function M.save(day, lines)
  local seen, rows = {}, {}
  for _, name in ipairs(dict:get_keys(0)) do
    local row = name:match('^' .. day:gsub('%-', '%%-') .. ' (%S+ .+) %l+$')
    if row and not seen[row] then
      seen[row] = true
      rows[#rows + 1] = row
    end
  end
  table.sort(rows)
  for _, row in ipairs(rows) do
    local key, model = row:match '^(%S+) (.+)$'
    local start = day .. ' ' .. row .. ' '
    lines[#lines + 1] = ('%s\t%s\t%d\t%d\t%d\t%d'):format(key, model, dict:get(start .. 'requests') or 0,
      dict:get(start .. 'in') or 0, dict:get(start .. 'out') or 0, dict:get(start .. 'estimated') or 0)
  end
end

function M.restore(day, line)
  local key, model, requests, tokens_in, tokens_out, estimated = line:match '^(%S+)\t([^\t]+)\t(%d+)\t(%d+)\t(%d+)\t(%d+)$'
  if not key then return end
  local start = day .. ' ' .. key .. ' ' .. model .. ' '
  dict:set(start .. 'requests', tonumber(requests), LIVES)
  dict:set(start .. 'in', tonumber(tokens_in), LIVES)
  dict:set(start .. 'out', tonumber(tokens_out), LIVES)
  dict:set(start .. 'estimated', tonumber(estimated), LIVES)
end

return M
