-- The engine's chats as Anthropic's messages: whole answers, and streams event by event.
--
--   text       = M.answer(request, engine_text, id)     nil and a problem if it can't be read
--   translator = M.new(request, id)                     feed(line), fail(code, message, id), finish(): as ollama.stream
local json = require 'gateway.json'
local errors = require 'gateway.errors'

local sub, find, format = string.sub, string.find, string.format

local M = {}

local ANSWER = json.known {'choices', 'usage'}
local CHOICE = json.known {'finish_reason', 'message', 'delta'}
local SAID = json.known {'content', 'reasoning_content', 'reasoning', 'tool_calls'}
local CALL = json.known {'id', 'function', 'index'}
local FUNCTION = json.known {'name', 'arguments'}
local USAGE = json.known {'completion_tokens', 'prompt_tokens'}

local function literal(text, field)
  return field and field.kind == 'string' and field.to > field.from + 1 and sub(text, field.from, field.to) or nil
end

local function members(text, field, known)
  local found = field and field.kind == 'object' and json.members(text, field.from, field.to, known)
  return found and found.at
end

-- The tool calls of a message or a delta: {id, name, arguments} as literals, index; nil if there is none.
local function read_calls(text, field)
  local items = field and field.kind == 'array' and json.items(text, field.from, field.to)
  if not items or #items == 0 then return nil end
  local calls = {}
  for k = 1, #items do
    local at = members(text, items[k], CALL)
    local called = at and members(text, at['function'], FUNCTION)
    if called then
      calls[#calls + 1] = {
        id = literal(text, at.id), name = literal(text, called.name), arguments = literal(text, called.arguments),
        index = at.index and tonumber(sub(text, at.index.from, at.index.to)) or k - 1,
      }
    end
  end
  return calls
end

-- What an answer or an event says: {content, thinking, calls, reason, tokens_in, tokens_out}; nil if it can't be read.
local function read(text, which)
  local found = json.check(text) and json.members(text, nil, nil, ANSWER)
  if not found then return nil end
  local usage = members(text, found.at.usage, USAGE)
  local made = {}
  if usage then
    made.tokens_in = usage.prompt_tokens and tonumber(sub(text, usage.prompt_tokens.from, usage.prompt_tokens.to))
    made.tokens_out = usage.completion_tokens and tonumber(sub(text, usage.completion_tokens.from, usage.completion_tokens.to))
  end
  local choices = found.at.choices
  local items = choices and choices.kind == 'array' and json.items(text, choices.from, choices.to)
  local choice = items and items[1] and members(text, items[1], CHOICE)
  if not choice then return which == 'delta' and made or nil end
  made.reason = literal(text, choice.finish_reason)
  local said = members(text, choice[which], SAID)
  if said then
    made.content = literal(text, said.content)
    made.thinking = literal(text, said.reasoning_content) or literal(text, said.reasoning)
    made.calls = read_calls(text, said.tool_calls)
  end
  return made
end

local REASONS = {['"stop"'] = 'end_turn', ['"length"'] = 'max_tokens', ['"tool_calls"'] = 'tool_use'}

local function stop_reason(reason, has_calls)
  return has_calls and reason ~= '"length"' and 'tool_use' or REASONS[reason] or 'end_turn'
end

local function message_id(id)
  return json.quote('msg_' .. (id or '0'))
end

local function call_id(call, id, number)
  return call.id or '"toolu_' .. (id or '0') .. '_' .. number .. '"'
end

local function object_of(arguments)
  local text = arguments and json.string(arguments, 1, #arguments) or '{}'
  local from, to = json.span(text)
  return json.check(text) and sub(text, from, from) == '{' and sub(text, from, to) or '{}'
end

function M.answer(request, text, id)
  local made = read(text, 'message')
  if not made then return nil, errors.problem(502, "The model server's answer could not be read.", 'engine_error') end
  local content = {}
  if made.thinking then content[1] = '{"type":"thinking","thinking":' .. made.thinking .. ',"signature":""}' end
  if made.content then content[#content + 1] = '{"type":"text","text":' .. made.content .. '}' end
  for k, call in ipairs(made.calls or {}) do
    content[#content + 1] = '{"type":"tool_use","id":' .. call_id(call, id, k) .. ',"name":' .. (call.name or '""') .. ',"input":'
      .. object_of(call.arguments) .. '}'
  end
  return '{"id":' .. message_id(id) .. ',"type":"message","role":"assistant","content":[' .. table.concat(content, ',')
    .. '],"model":' .. request.asked .. ',"stop_reason":"' .. stop_reason(made.reason, made.calls) .. '","stop_sequence":null,'
    .. '"usage":{"input_tokens":' .. format('%.0f', made.tokens_in or 0) .. ',"output_tokens":'
    .. format('%.0f', made.tokens_out or 0) .. '}}\n'
end

local Translator = {}
Translator.__index = Translator

function M.new(request, id)
  -- block: the number of the open block, kind: what it holds (nil: none is open).
  return setmetatable({request = request, id = id, block = -1, events = 0, content_type = 'text/event-stream'}, Translator)
end

local function event(name, fields)
  return 'event: ' .. name .. '\ndata: {"type":"' .. name .. '"' .. fields .. '}\n\n'
end

function Translator:start()
  if self.has_begun then return '' end
  self.has_begun = true
  return event('message_start', ',"message":{"id":' .. message_id(self.id) .. ',"type":"message","role":"assistant",'
    .. '"content":[],"model":' .. self.request.asked
    .. ',"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}')
end

function Translator:close()
  if not self.kind then return '' end
  self.kind = nil
  return event('content_block_stop', ',"index":' .. self.block)
end

-- Opens a block of a kind, if it is not open.
function Translator:open(kind, content)
  if self.kind == kind then return '' end
  local closed = self:start() .. self:close()
  self.block, self.kind = self.block + 1, kind
  -- What comes before and after each text of this block.
  local start = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":' .. self.block .. ',"delta":'
  self.text_start = start .. '{"type":"text_delta","text":"'
  self.delta = start
  return closed .. event('content_block_start', ',"index":' .. self.block .. ',"content_block":' .. content)
end

function Translator:call(call)
  self.has_calls = true
  local out = ''
  local kind = 'tool ' .. call.index
  if self.kind ~= kind then
    out = self:open(kind, '{"type":"tool_use","id":' .. call_id(call, self.id, call.index) .. ',"name":' .. (call.name or '""')
      .. ',"input":{}}')
  end
  if call.arguments then
    out = out .. self.delta .. '{"type":"input_json_delta","partial_json":' .. call.arguments .. '}}\n\n'
  end
  return out
end

function Translator:ended()
  self.done = true
  local tokens_out = self.tokens_out or self.events
  local tokens_in = self.tokens_in and '"input_tokens":' .. format('%.0f', self.tokens_in) .. ',' or ''
  return self:start() .. self:close()
    .. event('message_delta', ',"delta":{"stop_reason":"' .. stop_reason(self.reason, self.has_calls)
      .. '","stop_sequence":null},"usage":{' .. tokens_in .. '"output_tokens":' .. format('%.0f', tokens_out) .. '}')
    .. event('message_stop', ''), true
end

function Translator:slow(line)
  local text = sub(line, 7)
  local made = find(text, '^{') and not find(text, '^{"error":') and read(text, 'delta')
  if not made then
    self.done = true
    local ctx = {id = self.id}
    local out = errors.stream('anthropic', text, ctx)
    self.problem, self.trace = ctx.problem, ctx.trace
    return out, true
  end
  self.tokens_in, self.tokens_out = made.tokens_in or self.tokens_in, made.tokens_out or self.tokens_out
  self.reason = made.reason or self.reason
  local out = ''
  if made.thinking then
    out = self:open('thinking', '{"type":"thinking","thinking":"","signature":""}')
    out = out .. self.delta .. '{"type":"thinking_delta","thinking":' .. made.thinking .. '}}\n\n'
  end
  if made.content then
    out = out .. self:open('text', '{"type":"text","text":""}')
    out = out .. self.delta .. '{"type":"text_delta","text":' .. made.content .. '}}\n\n'
  end
  for _, call in ipairs(made.calls or {}) do out = out .. self:call(call) end
  if out ~= '' then self.events = self.events + 1 end
  return out
end

-- What the engine writes around the text of nearly every event: moved as it stands.
local BEFORE = 'choices":[{"finish_reason":null,"index":0,"delta":{"content":"'
local AFTER = '","role":"assistant","tool_calls":null},"logprobs":null}]'

function Translator:feed(line)
  if self.done then return '', true end
  local _, from = find(line, BEFORE, 1, true)
  local to = from and find(line, AFTER, from, true)
  if to then
    if to == from + 1 then return '' end
    self.events = self.events + 1
    local opened = self.kind == 'text' and '' or self:open('text', '{"type":"text","text":""}')
    return opened .. self.text_start .. sub(line, from + 1, to - 1) .. '"}}\n\n'
  end
  if sub(line, 1, 6) ~= 'data: ' then return '' end
  if sub(line, 7) == '[DONE]' then return self:ended() end
  return self:slow(line)
end

function Translator:fail(code, message, id)
  self.done = true
  return errors.event('anthropic', errors.problem(502, message, code), id or self.id)
end

function Translator:finish()
  if self.done then return '' end
  if self.reason then return (self:ended()) end
  return self:fail('engine_died', errors.DIED)
end

return M
