-- Small trusted texts as values, and values as texts. Part of gateway.json, which says how it is called.
local json_string = require 'gateway.json_string'
local json_check = require 'gateway.json_check'
local json_walk = require 'gateway.json_walk'

local byte, sub, format = string.byte, string.sub, string.format
local concat, sort, floor = table.concat, table.sort, math.floor

local M = {}

-- What `decode` gives for null, and the mark of arrays.
M.null = setmetatable({}, {__tostring = function() return 'null' end})
M.array = {}

local decode_span

-- The value of a span of a text that has been checked.
function decode_span(text, from, to, kind)
  if kind == 'string' then return json_string.string(text, from, to) end
  if kind == 'number' then return tonumber(sub(text, from, to)) end
  if kind == 'true' then return true end
  if kind == 'false' then return false end
  if kind == 'null' then return M.null end
  local value = {}
  if kind == 'array' then
    local found = json_walk.items(text, from, to)
    for k = 1, #found do
      local item = found[k]
      value[k] = decode_span(text, item.from, item.to, item.kind)
    end
    return setmetatable(value, M.array)
  end
  local found, sentence = json_walk.all(text, from, to)
  if not found then error(sentence, 0) end
  for k = 1, #found do
    local field = found[k]
    value[field.name] = decode_span(text, field.from, field.to, field.kind)
  end
  return value
end

function M.decode(text)
  local ok, sentence = json_check.check(text)
  if not ok then return nil, sentence end
  local from, to = json_check.span(text)
  local done, value = pcall(decode_span, text, from, to, json_walk.KIND[byte(text, from)])
  if not done then return nil, value end
  return value
end

local encode_into

local function encode_table(value, out)
  if getmetatable(value) == M.array or #value > 0 then
    out[#out + 1] = '['
    for k = 1, #value do
      if k > 1 then out[#out + 1] = ',' end
      encode_into(value[k], out)
    end
    out[#out + 1] = ']'
    return
  end
  local names = {}
  for name in pairs(value) do names[#names + 1] = name end
  sort(names)
  out[#out + 1] = '{'
  for k = 1, #names do
    out[#out + 1] = (k > 1 and ',' or '') .. json_string.quote(names[k]) .. ':'
    encode_into(value[names[k]], out)
  end
  out[#out + 1] = '}'
end

function encode_into(value, out)
  local kind = type(value)
  if value == M.null or kind == 'nil' then
    out[#out + 1] = 'null'
  elseif kind == 'string' then
    out[#out + 1] = json_string.quote(value)
  elseif kind == 'number' then
    if value ~= value or value == 1 / 0 or value == -1 / 0 then error('not a number of JSON') end
    local whole = value == floor(value) and value < 1e15 and value > -1e15
    local text = format(whole and '%d' or '%.14g', value)
    if not whole and tonumber(text) ~= value then text = format('%.17g', value) end
    out[#out + 1] = text
  elseif kind == 'boolean' then
    out[#out + 1] = tostring(value)
  elseif kind == 'table' then
    encode_table(value, out)
  else
    error('no value of JSON: ' .. kind)
  end
end

function M.encode(value)
  local out = {}
  encode_into(value, out)
  return concat(out)
end

return M
