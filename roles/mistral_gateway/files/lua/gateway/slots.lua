-- Numbered places in a shared dictionary, each owned by a process. One operation takes a place together with its owner's
-- mark, so that what a killed process had can always be told and given back: a counter would lose that.
local M = {}

-- The names of `count` places. They are made once: a place is taken in each request.
function M.names(prefix, count)
  local names = { last = 1, number = {} }
  for i = 1, count do
    names[i] = prefix .. i
    names.number[names[i]] = i
  end
  return names
end

local function search(dict, names, pid)
  local count, i = #names, names.last
  for _ = 1, count do
    local name = names[i]
    i = i % count + 1
    if dict:safe_add(name, pid) then
      names.last = i
      return name
    end
  end
  return nil
end

-- Takes a free place and returns its name; nil if there is none. The search begins with the one that was given back last,
-- which mostly is free still: LuaJIT compiles what calls this only without a loop.
function M.take(dict, names, pid)
  local name = names[names.last]
  local ok, why = dict:safe_add(name, pid)
  if ok then
    names.last = names.last % #names + 1
    return name
  end
  -- A dictionary without room must not shut everybody out.
  if why == 'no memory' then return 'none' end
  return search(dict, names, pid)
end

function M.free(dict, names, name)
  dict:delete(name)
  names.last = names.number[name] or 1
end

-- Frees what dead processes hold; returns how many places. `own`: the pid of a new process, whose number a dead one may
-- have had before it.
function M.sweep(dict, pattern, is_alive, own)
  local freed = 0
  for _, name in ipairs(dict:get_keys(0)) do
    if name:find(pattern) then
      local pid = dict:get(name)
      if type(pid) == 'number' and (pid == own or not is_alive(pid)) then
        dict:delete(name)
        freed = freed + 1
      end
    end
  end
  return freed
end

return M
