-- Anthropic's API in front of an engine that has only OpenAI's (before 0.8.4): its requests as chats, the answers as messages.
--
--   out, request = anthropic.prepare(rules, kind, text, allowed, now, id)     kind: messages, messages/count_tokens
--   nil, problem
--   text         = anthropic.answer(request, engine_text)     a whole answer; nil and a problem if it can't be read
--   translator   = anthropic.stream(request, id)              as ollama.stream; its text is a stream of events
--
-- request: as body.prepare makes it (from and to are places in the client's text), and path (at the engine), asked (the model's
-- name as a JSON literal), translator (of a stream) or answer (a function of the engine's text that returns the whole answer).
local json = require 'gateway.json'
local body = require 'gateway.body'
local blocks = require 'gateway.blocks'
local edits = require 'gateway.edits'
local errors = require 'gateway.errors'
local models = require 'gateway.models'
local tools = require 'gateway.tools'
local anthropic_stream = require 'gateway.anthropic_stream'

local sub = string.sub
local wrong, is = edits.wrong, edits.is

local anthropic = {}
anthropic.stream = anthropic_stream.new

local MESSAGE = json.known {'role', 'content'}
local BLOCK = json.known {'type', 'text', 'source', 'id', 'name', 'input', 'tool_use_id', 'content'}
local SOURCE = json.known {'type', 'media_type', 'data'}
local TOOL = json.known {'name', 'description', 'input_schema'}
local CHOICE = json.known {'type', 'name'}
local THINKING = json.known {'type'}

-- What passes under the same name.
local SAME = {
  'max_tokens', 'temperature', 'top_p', 'top_k', 'min_p', 'presence_penalty', 'frequency_penalty', 'repetition_penalty', 'stream',
  'enable_thinking', 'reasoning_effort', 'response_format', 'grammar', 'logit_bias', 'seed', 'truncate_sequence',
}

local function put_span(out, field)
  local n = #out
  out[n + 1], out[n + 2] = field.from, field.to
end

local function put_text(out, field)
  out[#out + 1] = '{"type":"text","text":'
  put_span(out, field)
  out[#out + 1] = '}'
end

-- The blocks of a content as {fields by name}; they have been checked.
local function read_blocks(work, content)
  local items = json.items(work.text, content.from, content.to)
  local found = {}
  for k = 1, #items do
    found[k] = json.members(work.text, items[k].from, items[k].to, BLOCK).at
  end
  return found
end

local function put_image(work, out, at)
  local source = json.members(work.text, at.source.from, at.source.to, SOURCE).at
  if not source.data or source.data.kind ~= 'string' then return wrong('An image has no data.', 'messages') end
  out[#out + 1] = '{"type":"image_url","image_url":{"url":"data:'
  if source.media_type and source.media_type.kind == 'string' then
    out[#out + 1], out[#out + 2] = source.media_type.from + 1, source.media_type.to - 1
  else
    out[#out + 1] = 'image/png'
  end
  out[#out + 1] = ';base64,'
  out[#out + 1], out[#out + 2] = source.data.from + 1, source.data.to - 1
  out[#out + 1] = '"}}'
end

-- Texts and images of the blocks as a list of parts; body.prepare joins what is text only.
local function put_parts(work, out, found)
  out[#out + 1] = '['
  local first = true
  for k = 1, #found do
    local at = found[k]
    local is_text = is(work, at.type, 'text')
    if is_text or is(work, at.type, 'image') then
      if not first then out[#out + 1] = ',' end
      first = false
      if is_text then
        if not at.text or at.text.kind ~= 'string' then return wrong('A block of the type text has no text.', 'messages') end
        put_text(out, at.text)
      else
        local problem = put_image(work, out, at)
        if problem then return problem end
      end
    end
  end
  out[#out + 1] = ']'
end

local function has(work, found, ...)
  for k = 1, #found do
    if edits.one_of(work, found[k].type, {...}) then return true end
  end
  return false
end

-- The result of a tool is a message of its own, before what the user says with it.
local function put_result(work, out, at)
  if not at.tool_use_id or at.tool_use_id.kind ~= 'string' then
    return wrong('A block of the type tool_result has no tool_use_id.', 'messages')
  end
  out[#out + 1] = '{"role":"tool","tool_call_id":'
  put_span(out, at.tool_use_id)
  out[#out + 1] = ',"content":'
  local content = at.content
  if not content or content.kind == 'null' then
    out[#out + 1] = '""'
  elseif content.kind == 'array' then
    local found = read_blocks(work, content)
    if has(work, found, 'image') then
      return wrong('The model server takes no images in the results of tools.', 'messages', 'unsupported_value')
    end
    local problem = put_parts(work, out, found)
    if problem then return problem end
  else
    put_span(out, content)
  end
  out[#out + 1] = '},'
end

local function put_user(work, out, found)
  for k = 1, #found do
    if is(work, found[k].type, 'tool_result') then
      local problem = put_result(work, out, found[k])
      if problem then return problem end
    end
  end
  if has(work, found, 'text', 'image') or #found == 0 then
    out[#out + 1] = '{"role":"user","content":'
    local problem = put_parts(work, out, found)
    if problem then return problem end
    out[#out + 1] = '},'
  end
end

local function put_call(out, at)
  if not at.id or not at.name or at.id.kind ~= 'string' or at.name.kind ~= 'string' then
    return wrong('A block of the type tool_use needs an id and a name.', 'messages')
  end
  out[#out + 1] = '{"id":'
  put_span(out, at.id)
  out[#out + 1] = ',"type":"function","function":{"name":'
  put_span(out, at.name)
  if at.input and at.input.kind == 'object' then
    out[#out + 1], out[#out + 2] = ',"arguments":"', json.escaped
    put_span(out, at.input)
    out[#out + 1] = '"}},'
  else
    out[#out + 1] = ',"arguments":"{}"}},'
  end
end

local function put_assistant(work, out, found)
  out[#out + 1] = '{"role":"assistant","content":'
  local problem = put_parts(work, out, found)
  if problem then return problem end
  if has(work, found, 'tool_use') then
    out[#out + 1] = ',"tool_calls":['
    for k = 1, #found do
      if is(work, found[k].type, 'tool_use') then
        problem = put_call(out, found[k])
        if problem then return problem end
      end
    end
    out[#out] = sub(out[#out], 1, -2) .. ']'
  end
  out[#out + 1] = '},'
end

local function put_messages(work, out, at)
  out[#out + 1] = ',"messages":['
  local system = at.system
  if system and system.kind == 'string' then
    out[#out + 1] = '{"role":"system","content":'
    put_span(out, system)
    out[#out + 1] = '},'
  elseif system and system.kind == 'array' then
    out[#out + 1] = '{"role":"system","content":'
    local problem = put_parts(work, out, read_blocks(work, system))
    if problem then return problem end
    out[#out + 1] = '},'
  end
  local before = #out
  local items = json.items(work.text, at.messages.from, at.messages.to)
  for k = 1, #items do
    local message = json.members(work.text, items[k].from, items[k].to, MESSAGE).at
    if message.content.kind == 'string' then
      out[#out + 1] = '{"role":'
      put_span(out, message.role)
      out[#out + 1] = ',"content":'
      put_span(out, message.content)
      out[#out + 1] = '},'
    else
      local put = is(work, message.role, 'assistant') and put_assistant or put_user
      local problem = put(work, out, read_blocks(work, message.content))
      if problem then return problem end
    end
  end
  if #out == before then return wrong('messages must have a text, an image or a result of a tool.', 'messages') end
  -- Each message has brought a comma.
  out[#out] = sub(out[#out], 1, -2) .. ']'
end

local function put_tools(work, out, field)
  if not field or field.kind ~= 'array' then return nil end
  local items = json.items(work.text, field.from, field.to)
  if #items == 0 then return nil end
  for k = 1, #items do
    local at = json.members(work.text, items[k].from, items[k].to, TOOL).at
    if not at.name or at.name.kind ~= 'string' then return wrong('tools[' .. k - 1 .. '].name is missing.', 'tools') end
    out[#out + 1] = (k == 1 and ',"tools":[' or ',') .. '{"type":"function","function":{"name":'
    put_span(out, at.name)
    if at.description and at.description.kind == 'string' then
      out[#out + 1] = ',"description":'
      put_span(out, at.description)
    end
    out[#out + 1] = ',"parameters":'
    put_span(out, at.input_schema)
    out[#out + 1] = '}}'
  end
  out[#out + 1] = ']'
end

local function put_choice(work, out, field)
  if not field or field.kind ~= 'object' then return nil end
  local at = json.members(work.text, field.from, field.to, CHOICE).at
  local kind = edits.one_of(work, at.type, {'auto', 'none', 'any', 'tool'})
  if kind == 'tool' then
    if not at.name or at.name.kind ~= 'string' then return wrong('tool_choice.name is missing.', 'tool_choice') end
    out[#out + 1] = ',"tool_choice":{"type":"function","function":{"name":'
    put_span(out, at.name)
    out[#out + 1] = '}}'
  elseif kind == 'any' and work.rules.features.tool_required then
    out[#out + 1] = ',"tool_choice":"required"'
  else
    -- Engines with this API take any for auto as well.
    out[#out + 1] = ',"tool_choice":"' .. (kind == 'none' and 'none' or 'auto') .. '"'
  end
end

local function put_rest(work, out, at)
  for _, name in ipairs(SAME) do
    local field = at[name]
    if field and field.kind ~= 'null' then
      out[#out + 1] = ',"' .. name .. '":'
      put_span(out, field)
    end
  end
  local stop = at.stop_sequences
  if stop and stop.kind == 'array' then
    out[#out + 1] = ',"stop":'
    put_span(out, stop)
  end
  local thinking = at.thinking
  if thinking and thinking.kind == 'object' and not at.enable_thinking then
    local kind = json.members(work.text, thinking.from, thinking.to, THINKING)
    if kind then
      out[#out + 1] = ',"enable_thinking":' .. (is(work, kind.at.type, 'disabled') and 'false' or 'true')
    end
  end
end

-- Checks what a body must have before it is taken apart; a problem, or nil.
local function check(work, all)
  local at = all.at
  if not at.messages then return wrong('messages is missing.', 'messages', 'missing_required_parameter') end
  return blocks.check_messages(work, at.messages) or at.system and blocks.check_system(work, at.system)
    or at.tools and tools.check_anthropic(work, at.tools) or at.tool_choice and blocks.check_choice(work, at.tool_choice)
end

local function find_model(work, field, allowed)
  if not field or field.kind ~= 'string' or field.to - field.from > 1024 then
    return nil, nil, wrong('model must be a text.', 'model')
  end
  local name, sentence = json.string(work.text, field.from, field.to)
  if not name then return nil, nil, wrong(sentence, 'model') end
  local model = models.find(work.rules.index, name, allowed)
  if not model then return nil, nil, models.missing(work.rules.index, name, allowed) end
  return model, sub(work.text, field.from, field.to)
end

function anthropic.prepare(rules, kind, text, allowed, now, id)
  if kind == 'messages/count_tokens' then
    return nil, errors.problem(404, 'The model server (' .. rules.plan.line .. ') counts no tokens: its line has no such call.',
      'not_served')
  end
  local ok, sentence = json.check(text)
  if not ok then return nil, wrong(sentence, nil, 'invalid_json', #text > json.limits.bytes and 413 or 400) end
  local all
  all, sentence = json.object(text)
  if not all then return nil, wrong(sentence, nil, 'invalid_json') end
  local work = {text = text, rules = rules, kind = kind, edits = {}}
  local model, asked, problem = find_model(work, all.at.model, allowed)
  if problem then return nil, problem end
  work.model = model
  problem = check(work, all)
  if problem then return nil, problem end
  local out = {'{"model":' .. json.quote(model.id)}
  put_rest(work, out, all.at)
  problem = put_tools(work, out, all.at.tools) or put_choice(work, out, all.at.tool_choice) or put_messages(work, out, all.at)
  if problem then return nil, problem end
  -- What is refused by name is refused by the next check, which knows these names.
  for name in pairs(all.at) do
    if body.is_refused(name) then
      out[#out + 1] = ',"' .. name .. '":'
      put_span(out, all.at[name])
    end
  end
  out[#out + 1] = '}'
  local prepared, request = body.prepare(rules, 'chat/completions', json.build(text, out), allowed, true)
  if not prepared then return nil, request end
  request.path, request.asked = '/v1/chat/completions', asked
  request.from, request.to = all.at.messages.from, all.at.messages.to
  if request.stream then
    request.translator = anthropic.stream(request, id, now)
  else
    request.answer = function(engine_text)
      local answer, unread = anthropic_stream.answer(request, engine_text, id)
      return answer or errors.body('anthropic', unread, id)
    end
  end
  return prepared, request
end

anthropic.answer = anthropic_stream.answer

return anthropic
