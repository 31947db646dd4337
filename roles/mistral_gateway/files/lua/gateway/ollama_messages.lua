-- Ollama's messages as OpenAI's, and the engine's tool calls as Ollama's.
local json = require 'gateway.json'
local edits = require 'gateway.edits'

local sub, byte = string.sub, string.byte
local wrong = edits.wrong

local M = {}

local MOST_MESSAGES, MOST_CALLS, MOST_IMAGES = 10000, 128, 128

local MESSAGE = json.known {'role', 'content', 'images', 'tool_calls', 'thinking', 'tool_name', 'tool_call_id', 'name'}
local CALL = json.known {'id', 'function'}
local FUNCTION = json.known {'name', 'arguments'}

-- The kinds of images by the first characters of their base64.
local function image_type(text, from)
  local a, b = byte(text, from, from + 1)
  if a == 47 and b == 57 then return 'image/jpeg' end -- /9j/
  if a == 92 then return 'image/jpeg' end -- the same with its slash escaped
  if a == 82 then return b == 48 and 'image/gif' or 'image/png' end -- R0lG
  if a == 85 then return 'image/webp' end -- UklG
  return 'image/png'
end

local function put_image(work, out, item, where)
  if item.kind ~= 'string' or item.to - item.from < 9 then return wrong(where .. ' must be an image in base64.', where) end
  if json.is(work.text, item.from + 1, item.from + 5, 'data:') then
    out[#out + 1], out[#out + 2], out[#out + 3] = '{"type":"image_url","image_url":{"url":', item.from, item.to
    out[#out + 1] = '}}'
    return nil
  end
  for at = item.from + 1, item.from + 8 do
    local c = byte(work.text, at)
    if c == 58 or c == 46 then return edits.not_fetched(where) end -- http: and the like
  end
  local n = #out
  out[n + 1] = '{"type":"image_url","image_url":{"url":"data:' .. image_type(work.text, item.from + 1) .. ';base64,'
  out[n + 2], out[n + 3], out[n + 4] = item.from + 1, item.to - 1, '"}}'
end

local function put_span(out, field)
  local n = #out
  out[n + 1], out[n + 2] = field.from, field.to
end

-- A content, with images as the parts after it.
function M.put_content(work, out, content, images, where)
  local has_images = images and images.kind == 'array'
  local items
  if has_images then
    local sentence
    items, sentence = json.items(work.text, images.from, images.to, MOST_IMAGES)
    if not items then return wrong(where .. ': ' .. sentence, where) end
    has_images = #items > 0
  end
  if not has_images then
    if content and content.kind ~= 'null' then put_span(out, content) else out[#out + 1] = '""' end
    return nil
  end
  out[#out + 1] = '['
  if content and content.kind == 'string' and content.to > content.from + 1 then
    out[#out + 1] = '{"type":"text","text":'
    put_span(out, content)
    out[#out + 1] = '},'
  end
  for k = 1, #items do
    if k > 1 then out[#out + 1] = ',' end
    local problem = put_image(work, out, items[k], where .. '[' .. k - 1 .. ']')
    if problem then return problem end
  end
  out[#out + 1] = ']'
end

-- A call's arguments are an object there and its text here. Returns a problem, or nil and the call for the answers to come.
local function put_call(work, out, item, where)
  local found, inner, sentence
  if item.kind == 'object' then found, sentence = json.members(work.text, item.from, item.to, CALL) end
  local called = found and found.at['function']
  if called and called.kind == 'object' then
    inner, sentence = json.members(work.text, called.from, called.to, FUNCTION)
  end
  local name = inner and inner.at.name
  if not name or name.kind ~= 'string' then
    return wrong(where .. ': ' .. (sentence or 'the name of the function is missing.'), where)
  end
  work.calls = work.calls + 1
  local id, arguments = found.at.id, inner.at.arguments
  local has_id = id and id.kind == 'string' and id.to > id.from + 1
  local call = {name = name, number = work.calls, id = has_id and id or nil}
  out[#out + 1] = '{"id":'
  if has_id then put_span(out, id) else out[#out + 1] = '"call_' .. work.calls .. '"' end
  out[#out + 1] = ',"type":"function","function":{"name":'
  put_span(out, name)
  out[#out + 1] = ',"arguments":'
  if not arguments or arguments.kind == 'null' then
    out[#out + 1] = '"{}"'
  elseif arguments.kind == 'string' then
    put_span(out, arguments)
  else
    out[#out + 1], out[#out + 2] = '"', json.escaped
    put_span(out, arguments)
    out[#out + 1] = '"'
  end
  out[#out + 1] = '}}'
  return nil, call
end

local function put_calls(work, out, field, where)
  local items, sentence = json.items(work.text, field.from, field.to, MOST_CALLS)
  if not items then return wrong(where .. ': ' .. sentence, where) end
  if #items == 0 then return nil end
  out[#out + 1] = ',"tool_calls":['
  work.open_calls = {}
  for k = 1, #items do
    if k > 1 then out[#out + 1] = ',' end
    local problem, call = put_call(work, out, items[k], where .. '[' .. k - 1 .. ']')
    if problem then return problem end
    work.open_calls[k] = call
  end
  out[#out + 1] = ']'
end

local function same_span(text, one, other)
  local length = one.to - one.from
  if other.to - other.from ~= length then return false end
  for k = 0, length do
    if byte(text, one.from + k) ~= byte(text, other.from + k) then return false end
  end
  return true
end

-- Which of the last calls a result belongs to: the first of its name that has none yet, else the first that has none.
local function find_call(work, name)
  local calls = work.open_calls or {}
  local first
  for k = 1, #calls do
    local call = calls[k]
    if not call.has_result then
      if name and same_span(work.text, call.name, name) then return call end
      first = first or call
    end
  end
  return not name and first or nil
end

local function put_result_id(work, out, at)
  local given = at.tool_call_id
  out[#out + 1] = ',"tool_call_id":'
  if given and given.kind == 'string' then
    put_span(out, given)
    return
  end
  local name = at.tool_name or at.name
  local call = find_call(work, name and name.kind == 'string' and name or nil)
  if not call then
    out[#out + 1] = '"call_0"'
    return
  end
  call.has_result = true
  if call.id then put_span(out, call.id) else out[#out + 1] = '"call_' .. call.number .. '"' end
end

local function put_message(work, out, item, where)
  local found, sentence
  if item.kind == 'object' then found, sentence = json.members(work.text, item.from, item.to, MESSAGE) end
  if not found then return wrong(where .. ': ' .. (sentence or 'a message must be an object.'), where) end
  local at = found.at
  if not at.role or at.role.kind ~= 'string' then return wrong(where .. '.role is missing.', where .. '.role') end
  out[#out + 1] = '{"role":'
  put_span(out, at.role)
  out[#out + 1] = ',"content":'
  local problem = M.put_content(work, out, at.content, at.images, where .. '.images')
  if problem then return problem end
  if at.thinking and at.thinking.kind == 'string' then
    out[#out + 1] = ',"reasoning_content":'
    put_span(out, at.thinking)
  end
  if at.tool_calls and at.tool_calls.kind == 'array' then
    problem = put_calls(work, out, at.tool_calls, where .. '.tool_calls')
    if problem then return problem end
  end
  if edits.is(work, at.role, 'tool') then put_result_id(work, out, at) end
  out[#out + 1] = '}'
end

function M.put(work, out, field)
  if field.kind ~= 'array' then return wrong('messages must be a list of messages.', 'messages') end
  local items, sentence = json.items(work.text, field.from, field.to, MOST_MESSAGES)
  if not items then return wrong('messages: ' .. sentence, 'messages') end
  work.calls = 0
  out[#out + 1] = '['
  for k = 1, #items do
    if k > 1 then out[#out + 1] = ',' end
    local problem = put_message(work, out, items[k], 'messages[' .. k - 1 .. ']')
    if problem then return problem end
  end
  out[#out + 1] = ']'
end

-- The engine's tool calls in Ollama's form, or nil. What is not an object of JSON becomes an empty one.
function M.tool_calls(text, field)
  local items = field and field.kind == 'array' and json.items(text, field.from, field.to)
  if not items or #items == 0 then return nil end
  local parts = {}
  for k = 1, #items do
    local found = items[k].kind == 'object' and json.members(text, items[k].from, items[k].to, CALL)
    local called = found and found.at['function']
    local inner = called and called.kind == 'object' and json.members(text, called.from, called.to, FUNCTION)
    if inner and inner.at.name then
      local id, name, given = found.at.id, inner.at.name, inner.at.arguments
      local arguments = given and given.kind == 'string' and json.string(text, given.from, given.to) or '{}'
      if not (json.check(arguments) and sub(arguments, json.span(arguments)):find '^{.*}$') then arguments = '{}' end
      parts[#parts + 1] = '{' .. (id and id.kind == 'string' and '"id":' .. sub(text, id.from, id.to) .. ',' or '')
        .. '"function":{"index":' .. k - 1 .. ',"name":' .. sub(text, name.from, name.to) .. ',"arguments":' .. arguments .. '}}'
    end
  end
  return #parts > 0 and '[' .. table.concat(parts, ',') .. ']' or nil
end

return M
