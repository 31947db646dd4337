-- Tools, the choice among them, and the form of the answer.
local json = require 'gateway.json'
local edits = require 'gateway.edits'

local wrong, is, one_of = edits.wrong, edits.is, edits.one_of

local M = {}

local MOST_TOOLS = 256
local TOOL = json.known {'type', 'function', 'name', 'input_schema'}
local CHOICE = json.known {'type', 'function', 'name'}
local FORMAT = json.known {'type', 'json_schema'}
local SCHEMA = json.known {'schema', 'name'}

local function not_allowed()
  return wrong('tools must be a list of tools of the type function, which the client runs itself: this endpoint does '
    .. 'not search, fetch or run anything.', 'tools', 'tool_not_allowed')
end

-- Each tool must be one that the client runs: is_own(work, members) says so.
local function check_list(work, field, is_own)
  if field.kind == 'null' then return nil end
  if field.kind ~= 'array' then return not_allowed() end
  local items, sentence = json.items(work.text, field.from, field.to, MOST_TOOLS)
  if not items then return wrong('tools: ' .. sentence, 'tools') end
  for k = 1, #items do
    if items[k].kind ~= 'object' then return not_allowed() end
    local tool
    tool, sentence = json.members(work.text, items[k].from, items[k].to, TOOL)
    if not tool then return wrong('tools[' .. k - 1 .. ']: ' .. sentence, 'tools') end
    if not is_own(work, tool.at) then return not_allowed() end
  end
  work.has_tools = #items > 0
end

local function is_openai(work, at)
  return is(work, at.type, 'function') and at['function'] ~= nil and at['function'].kind == 'object'
end

-- Anthropic's tools of the client have a schema; all of its own have a type with a date.
local function is_anthropic(work, at)
  return (not at.type or at.type.kind == 'null' or is(work, at.type, 'custom')) and at.input_schema ~= nil
    and at.input_schema.kind == 'object'
end

-- /v1/responses: the function's fields stand in the tool itself.
local function is_responses(work, at)
  return is(work, at.type, 'function')
end

function M.check(work, field)
  return check_list(work, field, is_openai)
end

function M.check_anthropic(work, field)
  return check_list(work, field, is_anthropic)
end

function M.check_responses(work, field)
  return check_list(work, field, is_responses)
end

function M.check_choice(work, field)
  work.choice = field
  if field.kind == 'null' then return nil end
  if field.kind == 'string' then
    local choice = one_of(work, field, {'auto', 'none', 'required'})
    if not choice then
      return wrong('tool_choice must be none, auto, required or a tool of the type function.', 'tool_choice')
    end
    if choice == 'required' then
      work.must_call = true
      if not work.rules.features.tool_required then
        return wrong("This engine can't be made to call any one of the tools: name the tool in tool_choice, or leave it out.",
          'tool_choice', 'unsupported_value')
      end
    end
    return nil
  end
  if field.kind ~= 'object' then return wrong('tool_choice must be a text or an object.', 'tool_choice') end
  local choice, sentence = json.members(work.text, field.from, field.to, CHOICE)
  if not choice then return wrong('tool_choice: ' .. sentence, 'tool_choice') end
  if not is(work, choice.at.type, 'function') then
    return wrong('tool_choice must be none, auto, required or a tool of the type function.', 'tool_choice', 'tool_not_allowed')
  end
  work.must_call = true
end

-- Any JSON object, as a schema: for engines that know no json_object.
local ANY_OBJECT = '{"type":"json_schema","json_schema":{"name":"object","schema":{"type":"object"}}}'

function M.check_format(work, field)
  if field.kind == 'null' then return nil end
  if field.kind ~= 'object' then return wrong('response_format must be an object with a type.', 'response_format') end
  local format, sentence = json.members(work.text, field.from, field.to, FORMAT)
  if not format then return wrong('response_format: ' .. sentence, 'response_format') end
  local kind = one_of(work, format.at.type, {'text', 'json_object', 'json_schema'})
  if not kind then
    return wrong('response_format.type must be text, json_object or json_schema.', 'response_format.type')
  end
  if kind == 'json_object' and not work.rules.features.json_object then
    edits.replace(work, field.from, field.to, ANY_OBJECT)
  elseif kind == 'json_schema' then
    local schema = format.at.json_schema
    if not schema or schema.kind ~= 'object' then
      return wrong('response_format.json_schema is missing.', 'response_format.json_schema')
    end
    local members
    members, sentence = json.members(work.text, schema.from, schema.to, SCHEMA)
    if not members then return wrong('response_format.json_schema: ' .. sentence, 'response_format.json_schema') end
    if not members.at.schema or members.at.schema.kind ~= 'object' then
      return wrong('response_format.json_schema.schema is missing.', 'response_format.json_schema.schema')
    end
    -- The engine wants a name and has no use for it.
    if not members.at.name then edits.replace(work, schema.from + 1, schema.from, '"name":"answer",') end
  end
end

return M
