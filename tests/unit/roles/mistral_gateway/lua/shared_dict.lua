-- A shared dictionary as Nginx has them, for modules that are tested without it. `clock` is a table whose `now` the test sets.
local Dict = {}
Dict.__index = Dict

local function new(clock)
  return setmetatable({ entries = {}, clock = clock }, Dict)
end

function Dict:live(name)
  local entry = self.entries[name]
  if entry and entry.ends and entry.ends <= self.clock.now then
    self.entries[name] = nil
    return nil
  end
  return entry
end

function Dict:get(name)
  local entry = self:live(name)
  return entry and entry.value
end

function Dict:set(name, value, seconds)
  self.entries[name] = { value = value, ends = seconds and seconds > 0 and self.clock.now + seconds or nil }
  return true
end

function Dict:add(name, value, seconds)
  if self:live(name) then return false, 'exists' end
  return self:set(name, value, seconds)
end

Dict.safe_add = Dict.add

function Dict:incr(name, by, init, seconds)
  local entry = self:live(name)
  if not entry then
    if not init then return nil, 'not found' end
    self:set(name, init, seconds)
    entry = self.entries[name]
  end
  entry.value = entry.value + by
  return entry.value
end

function Dict:delete(name)
  self.entries[name] = nil
end

function Dict:ttl(name)
  local entry = self:live(name)
  if not entry then return nil, 'not found' end
  return entry.ends and entry.ends - self.clock.now or 0
end

function Dict:get_keys()
  local names = {}
  for name in pairs(self.entries) do
    if self:live(name) then names[#names + 1] = name end
  end
  return names
end

return { new = new }
