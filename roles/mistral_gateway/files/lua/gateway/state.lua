-- What outlives a restart of Nginx, as files in one folder: limits.tsv (the counts of the running windows) and
-- usage-DAY.tsv (one for each day). Each is written anew under another name and then takes the place of the old one.
local ffi = require 'gateway.ffi'
local limits = require 'gateway.limits'
local usage = require 'gateway.usage'

local M = {}

local DAY = 86400
-- So long into a new day the day before is written as well.
local EARLY = 900

local function write(path, lines)
  local temporary = path .. '.' .. ffi.pid()
  local file, why = io.open(temporary, 'w')
  if not file then return nil, why end
  lines[#lines + 1] = ''
  local ok
  ok, why = file:write(table.concat(lines, '\n'))
  file:close()
  if ok then ok, why = os.rename(temporary, path) end
  return ok, why
end

local function usage_path(folder, day)
  return folder .. '/usage-' .. day .. '.tsv'
end

-- nil and why it could not be written. Under a lock from reading the counts to the end: otherwise an older file could
-- follow a newer one.
function M.save(folder, now)
  local lock = ffi.lock(folder .. '/lock')
  if not lock then return nil, folder .. '/lock cannot be locked' end
  local lines = { tostring(math.floor(now)) }
  limits.save(lines)
  local ok, why = write(folder .. '/limits.tsv', lines)
  local times = now % DAY < EARLY and { now - DAY, now } or { now }
  for _, time in ipairs(times) do
    local day = usage.day(time)
    lines = { usage.HEADER }
    usage.save(day, lines)
    if ok and #lines > 1 then ok, why = write(usage_path(folder, day), lines) end
  end
  ffi.unlock(lock)
  return ok, why
end

-- Reads the files into dictionaries that are empty.
function M.load(folder, now)
  local file = io.open(folder .. '/limits.tsv')
  if file then
    local seconds_ago = math.max(0, now - (tonumber(file:read '*l') or 0))
    for line in file:lines() do limits.restore(line, seconds_ago) end
    file:close()
  end
  for _, time in ipairs { now - DAY, now } do
    local day = usage.day(time)
    file = io.open(usage_path(folder, day))
    if file then
      for line in file:lines() do usage.restore(day, line) end
      file:close()
    end
  end
end

return M
