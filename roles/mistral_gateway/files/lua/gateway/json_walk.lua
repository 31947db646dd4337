-- Where the members of an object and the elements of a list lie. Part of gateway.json, which says how it is called.
local new_table = require 'table.new'
local json_check = require 'gateway.json_check'
local wrong = require('gateway.json_string').wrong

local byte, sub, find = string.byte, string.sub, string.find
local span, is_blank, LIMITS = json_check.span, json_check.is_blank, json_check.LIMITS

local M = {}

local SPACE = 32
local QUOTE, BACKSLASH, COMMA, COLON = 34, 92, 44, 58
local OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY = 123, 125, 91, 93

-- Kinds by the first byte of a value.
local KIND = {[QUOTE] = 'string', [OPEN_OBJECT] = 'object', [OPEN_ARRAY] = 'array', [116] = 'true', [102] = 'false',
  [110] = 'null', [45] = 'number'}
for c = 48, 57 do KIND[c] = 'number' end
M.KIND = KIND

-- A tree of bytes: known[byte of the first letter][byte of the second]….name
function M.known(names)
  local known = {}
  for _, name in ipairs(names) do
    local node = known
    for k = 1, #name do
      local c = byte(name, k)
      node[c] = node[c] or {}
      node = node[c]
    end
    node.name = name
  end
  return known
end

-- Where a walk is.
local AT_NAME, IN_NAME, AT_COLON, AT_VALUE, IN_WORD, IN_STRING, IN_CONTAINER, AT_COMMA = 1, 2, 3, 4, 5, 6, 7, 8
local NO_NODE = {}
local ESCAPED_NAME = 'A field has a name with an escape in it: write it out.'
-- Room for so many: a table that grows costs more than the walk.
local FIELDS, ITEMS = 8, 4

-- One loop for objects and lists (`found` gets fields or items), without another loop in it: LuaJIT compiles no loop that
-- meets another of few rounds. A string is left with one search for its quote, or byte by byte where it has escapes.
local function walk(text, from, to, found, is_list, known, max_count, max_name)
  local at, by_tree = found.at, known ~= nil
  local i, count, depth = from + 1, 0, 0
  local state = is_list and AT_VALUE or AT_NAME
  local node, name, name_from, first, escapes, any = known or NO_NODE, '', 0, 0, false, false
  while i <= to do
    local c = byte(text, i)
    local closed = 0 -- the last byte of a value that is complete
    if escapes then
      if c == BACKSLASH then
        i = i + 1
      elseif c == QUOTE then
        escapes = false
        if state == IN_STRING then
          closed = i
        elseif state == IN_NAME then
          state, name = AT_COLON, ''
        end
      end
    elseif state == IN_CONTAINER then
      if c == QUOTE then
        local quote = find(text, '"', i + 1, true)
        if not quote then return wrong('a string without an end', i) end
        if byte(text, quote - 1) == BACKSLASH then escapes = true else i = quote end
      elseif c == OPEN_OBJECT or c == OPEN_ARRAY then
        depth = depth + 1
      elseif c == CLOSE_OBJECT or c == CLOSE_ARRAY then
        depth = depth - 1
        if depth == 0 then closed = i end
      end
    elseif state == IN_NAME then
      if c == QUOTE then
        state, name = AT_COLON, node.name or ''
      elseif c == BACKSLASH then
        return nil, ESCAPED_NAME
      else
        node = node[c] or NO_NODE
        if node == NO_NODE then
          -- None of the known names, whatever comes: on to its end.
          local quote = find(text, '"', i + 1, true)
          if not quote then return wrong('a string without an end', i) end
          if byte(text, quote - 1) == BACKSLASH then escapes = true else i = quote - 1 end
        end
      end
    elseif state == IN_WORD then
      if c == COMMA or c == CLOSE_OBJECT or c == CLOSE_ARRAY or c <= SPACE then
        closed = i - 1
        i = closed
      end
    elseif is_blank(c) then
      -- Blanks mean nothing here.
    elseif state == AT_VALUE then
      if c == CLOSE_ARRAY and is_list and i == to and not any then return found end
      any, first = true, i
      if c == QUOTE then
        local quote = find(text, '"', i + 1, true)
        if not quote then return wrong('a string without an end', i) end
        state = IN_STRING
        if byte(text, quote - 1) == BACKSLASH then
          escapes = true
        else
          i, closed = quote, quote
        end
      elseif c == OPEN_OBJECT or c == OPEN_ARRAY then
        state, depth = IN_CONTAINER, 1
      elseif KIND[c] then
        state = IN_WORD
      else
        return wrong('a value is missing', i)
      end
    elseif state == AT_NAME then
      if c == QUOTE then
        any, state, name_from = true, IN_NAME, i
        if by_tree then
          node = known
        else
          local quote = find(text, '"', i + 1, true)
          if not quote then return wrong('a string without an end', i) end
          if quote - i - 1 > max_name then return nil, 'A field has a name of more than ' .. max_name .. ' bytes.' end
          name = sub(text, i + 1, quote - 1)
          -- "\u006dodel" is "model" to the engine: no name is read differently here and there.
          if find(name, '\\', 1, true) then return nil, ESCAPED_NAME end
          i, state = quote, AT_COLON
        end
      elseif c == CLOSE_OBJECT and i == to and not any then
        return found
      else
        return wrong('a field name is missing', i)
      end
    elseif state == AT_COLON then
      if c ~= COLON then return wrong('a colon is missing', i) end
      state = AT_VALUE
    elseif i == to then -- after a value
      return found
    elseif c == COMMA then
      state = is_list and AT_VALUE or AT_NAME
    else
      return wrong('a comma is missing', i)
    end
    if closed > 0 then
      state = AT_COMMA
      if is_list then
        count = count + 1
        if count > max_count then return nil, 'A list has more than ' .. max_count .. ' elements.' end
        found[count] = {from = first, to = closed, kind = KIND[byte(text, first)]}
      elseif name ~= '' or not by_tree then
        count = count + 1
        if count > max_count then return nil, 'An object has more than ' .. max_count .. ' fields.' end
        if at[name] then return nil, 'The field ' .. name .. ' is there twice.' end
        local field = {name = name, from = first, to = closed, kind = KIND[byte(text, first)], name_from = name_from}
        found[count], at[name] = field, field
      end
    end
    i = i + 1
  end
  return wrong('the end is missing', to)
end

local function walk_object(text, from, to, known, max_count, max_name)
  if not from then from, to = span(text) end
  if byte(text, from) ~= OPEN_OBJECT or byte(text, to) ~= CLOSE_OBJECT then
    return nil, 'The body must be a JSON object.'
  end
  local found = new_table(FIELDS, 3)
  found.at, found.from, found.to = new_table(0, FIELDS), from, to
  return walk(text, from, to, found, false, known, max_count, max_name)
end

function M.object(text, from, to, limits)
  limits = limits or LIMITS
  return walk_object(text, from, to, nil, limits.fields or LIMITS.fields, limits.name or LIMITS.name)
end

-- All members, however many and however long their names: for texts that can be trusted.
function M.all(text, from, to)
  return walk_object(text, from, to, nil, 1 / 0, 1 / 0)
end

function M.members(text, from, to, known)
  return walk_object(text, from, to, known, 1 / 0, 1 / 0)
end

function M.items(text, from, to, max)
  if byte(text, from) ~= OPEN_ARRAY or byte(text, to) ~= CLOSE_ARRAY then
    return nil, 'A list is missing.'
  end
  return walk(text, from, to, new_table(ITEMS, 0), true, nil, max or 1 / 0, 0)
end

return M
