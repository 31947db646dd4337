-- Ollama's API in front of the engine: its requests as the engine's, the engine's answers as Ollama's.
--
--   out, request = ollama.prepare(rules, call, text, allowed, now, id)    call: chat, generate, embed, embeddings
--   nil, problem
--   text         = ollama.answer(request, engine_text, now)    a whole answer; nil and a problem if it can't be read
--   translator   = ollama.stream(request, now, id)
--     out, done  = translator:feed(line)      a line of the engine's stream, without its line feed
--     out        = translator:fail(code, message, id)
--     out        = translator:finish()        the engine has ended without [DONE]
--   name         = ollama.name(text)          the model that a body names, or nil
--   problem      = ollama.refusal(call)       why pull, push, create, copy, delete are not here
--
-- request: as body.prepare makes it (from and to are places in the client's text), and path (at the engine), call, asked (the
-- model's name as a JSON literal), translator (of a stream) or answer (a function of the engine's text that returns the whole
-- answer). Where the engine is not needed, since a model is to be loaded or an input is empty: answer_now (the whole answer)
-- and is_stream.
-- now: seconds since 1970. id: the request's.
-- Numbers, texts and schemas are moved as they stand: a request is built from spans of the client's.
local json = require 'gateway.json'
local body = require 'gateway.body'
local edits = require 'gateway.edits'
local errors = require 'gateway.errors'
local models = require 'gateway.models'
local ollama_messages = require 'gateway.ollama_messages'

local sub, find, format = string.sub, string.find, string.format
local wrong = edits.wrong

local ollama = {}

local REFUSED = {
  pull = 'Models are not pulled here: add the model to mistral_models and run the playbook.',
  push = 'Models are not pushed from here.',
  create = 'Models are not created here: add the model to mistral_models and run the playbook.',
  copy = 'Models are not copied here: give the model another name in the playbook.',
  delete = 'Models are not deleted here: take the model out of mistral_models and run the playbook.',
}

function ollama.refusal(call)
  return errors.problem(501, REFUSED[call] or "This part of Ollama's API is not here.", 'not_implemented')
end

-- Options: Ollama's name, the engine's. All others (num_ctx, mirostat, ...) mean nothing to this engine.
local OPTIONS = {
  temperature = 'temperature', top_p = 'top_p', min_p = 'min_p', repeat_penalty = 'repetition_penalty', stop = 'stop',
  presence_penalty = 'presence_penalty', frequency_penalty = 'frequency_penalty', seed = 'seed',
}

local function add(out, ...)
  for k = 1, select('#', ...) do out[#out + 1] = (select(k, ...)) end
end

local function put_options(work, out, field)
  if not field or field.kind == 'null' then return nil end
  if field.kind ~= 'object' then return wrong('options must be an object.', 'options') end
  local all, sentence = json.object(work.text, field.from, field.to)
  if not all then return wrong('options: ' .. sentence, 'options') end
  for k = 1, #all do
    local option = all[k]
    local name = OPTIONS[option.name]
    if name and option.kind ~= 'null' then
      add(out, ',"' .. name .. '":', option.from, option.to)
    elseif option.name == 'top_k' or option.name == 'num_predict' then
      local value = edits.number(work, option)
      if not value or value % 1 ~= 0 then return wrong('options.' .. option.name .. ' must be a whole number.', 'options') end
      -- 0 and below: no bound.
      if value > 0 then add(out, option.name == 'top_k' and ',"top_k":' or ',"max_tokens":', option.from, option.to) end
    end
  end
end

local LEVELS = {'low', 'medium', 'high'}

local function put_think(work, out, field)
  if not field or field.kind == 'null' then return nil end
  if field.kind == 'true' or field.kind == 'false' then
    add(out, ',"enable_thinking":' .. field.kind)
    return nil
  end
  local level = edits.one_of(work, field, LEVELS)
  if not level then return wrong('think must be true, false, low, medium or high.', 'think') end
  add(out, ',"reasoning_effort":"' .. level .. '"')
end

local function put_format(work, out, field)
  if not field or field.kind == 'null' or edits.is(work, field, '') then return nil end
  if edits.is(work, field, 'json') then
    add(out, ',"response_format":{"type":"json_object"}')
  elseif field.kind == 'object' then
    add(out, ',"response_format":{"type":"json_schema","json_schema":{"name":"format","schema":', field.from, field.to, '}}')
  else
    return wrong('format must be "json" or a schema.', 'format')
  end
end

local function is_empty(work, field)
  return not field or field.kind == 'null' or edits.is(work, field, '')
    or (field.kind == 'array' and find(sub(work.text, field.from + 1, math.min(field.to - 1, field.from + 64)), '^%s*$') ~= nil)
end

-- keep_alive 0, "0", "0s": the model may go.
local function unloads(work, field)
  return field ~= nil and (edits.number(work, field) == 0 or edits.one_of(work, field, {'0', '0s', '0m', '0h'}) ~= nil)
end

local function time(now)
  return os.date('!%Y-%m-%dT%H:%M:%SZ', now)
end

-- What `ollama run` asks to have a model loaded; it is.
local function load_answer(work, at, call, request, now)
  local said = call == 'chat' and '"message":{"role":"assistant","content":""}' or '"response":""'
  return '{"model":' .. request.asked .. ',"created_at":"' .. time(now) .. '",' .. said .. ',"done":true,"done_reason":"'
    .. (unloads(work, at.keep_alive) and 'unload' or 'load') .. '"}\n'
end

-- The pieces of the engine's request; its path, or nil and a problem.
local function build_chat(work, at, out)
  add(out, ',"messages":')
  local problem = ollama_messages.put(work, out, at.messages)
  if problem then return nil, problem end
  if at.tools and at.tools.kind ~= 'null' and not is_empty(work, at.tools) then
    add(out, ',"tools":', at.tools.from, at.tools.to)
  end
  return 'chat/completions'
end

local function build_generate(work, at, out)
  local prompt = at.prompt
  if prompt.kind ~= 'string' then return nil, wrong('prompt must be a text.', 'prompt') end
  local suffix = not is_empty(work, at.suffix) and at.suffix
  if suffix or (at.raw and at.raw.kind == 'true') then
    add(out, ',"prompt":', prompt.from, prompt.to)
    if suffix then add(out, ',"suffix":', suffix.from, suffix.to) end
    return 'completions'
  end
  add(out, ',"messages":[')
  if not is_empty(work, at.system) then add(out, '{"role":"system","content":', at.system.from, at.system.to, '},') end
  add(out, '{"role":"user","content":')
  local problem = ollama_messages.put_content(work, out, prompt, at.images, 'images')
  if problem then return nil, problem end
  add(out, '}]')
  return 'chat/completions'
end

local function build_embedding(work, at, out, call)
  local input = call == 'embed' and at.input or at.prompt
  add(out, ',"input":', input.from, input.to)
  if call == 'embed' and at.dimensions and edits.number(work, at.dimensions) then
    add(out, ',"dimensions":', at.dimensions.from, at.dimensions.to)
  end
  if at.truncate and at.truncate.kind == 'true' then add(out, ',"truncate_sequence":true') end
  return 'embeddings'
end

local NEEDS = {chat = 'messages', generate = 'prompt', embed = 'input', embeddings = 'prompt'}

-- The span of the model's name as the client has it, the model itself, or a problem.
local function find_model(work, at, allowed)
  local field = at.model or at.name
  if not field or field.kind ~= 'string' then return nil, nil, wrong('model is required', 'model') end
  if field.to - field.from > 1024 then return nil, nil, wrong('The name of the model is too long.', 'model') end
  local name, sentence = json.string(work.text, field.from, field.to)
  if not name then return nil, nil, wrong(sentence, 'model') end
  local model = models.find(work.rules.index, name, allowed)
  if not model then
    return nil, nil, errors.problem(404, 'model ' .. json.quote(sub(name, 1, 200)):gsub('^"(.*)"$', "'%1'") .. ' not found',
      'model_not_found', 'model')
  end
  return field, model
end

local NAMED = json.known {'model', 'name'}

function ollama.name(text)
  local found = json.check(text) and json.members(text, nil, nil, NAMED)
  local field = found and (found.at.model or found.at.name)
  if not field or field.kind ~= 'string' or field.to - field.from > 1024 then return nil end
  return (json.string(text, field.from, field.to))
end

function ollama.prepare(rules, call, text, allowed, now, id)
  local ok, sentence = json.check(text)
  if not ok then
    return nil, wrong(sentence, nil, 'invalid_json', #text > json.limits.bytes and 413 or 400)
  end
  local all
  all, sentence = json.object(text)
  if not all then return nil, wrong(sentence, nil, 'invalid_json') end
  local at, work = all.at, {text = text, rules = rules}
  local field, model, problem = find_model(work, at, allowed)
  if problem then return nil, problem end
  local embeds = call == 'embed' or call == 'embeddings'
  local streams = not embeds and not (at.stream and at.stream.kind == 'false')
  local request = {
    call = call, asked = sub(text, field.from, field.to), model = model, stream = streams, n = 1,
  }
  local needed = at[NEEDS[call]]
  if is_empty(work, needed) and not (call == 'generate' and not is_empty(work, at.images)) then
    request.is_stream = streams
    if call == 'chat' or call == 'generate' then
      request.answer_now = load_answer(work, at, call, request, now)
    else
      request.answer_now = call == 'embeddings' and '{"embedding":[]}\n' or '{"model":' .. request.asked .. ',"embeddings":[]}\n'
    end
    return '', request
  end
  if not needed then return nil, wrong('prompt is required', 'prompt') end
  request.from, request.to = needed.from, needed.to
  work.model = model
  local out = {'{"model":' .. json.quote(model.id)}
  local kind
  if embeds then
    kind = build_embedding(work, at, out, call)
  else
    add(out, streams and ',"stream":true' or ',"stream":false')
    problem = put_options(work, out, at.options)
    if problem then return nil, problem end
    if call == 'chat' then kind, problem = build_chat(work, at, out) else kind, problem = build_generate(work, at, out) end
    if problem then return nil, problem end
    if kind == 'chat/completions' then
      problem = put_think(work, out, at.think) or put_format(work, out, at.format)
      if problem then return nil, problem end
    end
  end
  add(out, '}')
  local built = json.build(text, out)
  local prepared, of_body = body.prepare(rules, kind, built, allowed, true)
  if not prepared then return nil, of_body end
  for name, value in pairs(of_body) do
    if request[name] == nil then request[name] = value end
  end
  request.path = '/v1/' .. kind
  if streams then
    request.translator = ollama.stream(request, now, id)
  else
    request.answer = function(engine_text)
      local answer, unread = ollama.answer(request, engine_text, now)
      return answer or errors.body('ollama', unread, id)
    end
  end
  return prepared, request
end

local function nanoseconds(seconds)
  return format('%.0f', (seconds or 0) * 1e9)
end

-- The end of an answer: why it ended, the counts, the times.
local function ending(reason, usage)
  local text = ',"done":true,"done_reason":"' .. (reason == 'length' and 'length' or 'stop') .. '"'
  if not usage then return text end
  return text .. ',"total_duration":' .. nanoseconds(usage.total) .. ',"load_duration":0,"prompt_eval_count":'
    .. format('%.0f', usage.prompt_tokens or 0) .. ',"prompt_eval_duration":' .. nanoseconds(usage.prompt)
    .. ',"eval_count":' .. format('%.0f', usage.completion_tokens or 0) .. ',"eval_duration":' .. nanoseconds(usage.completion)
end

local USAGE = json.known {'completion_tokens', 'prompt_tokens', 'total_time_sec', 'total_prompt_time_sec',
  'total_completion_time_sec'}

local function read_usage(text, field)
  if not field or field.kind ~= 'object' then return nil end
  local found = json.members(text, field.from, field.to, USAGE)
  if not found then return nil end
  local at = found.at
  local function number(name) return at[name] and tonumber(sub(text, at[name].from, at[name].to)) or 0 end
  return {
    completion_tokens = number 'completion_tokens', prompt_tokens = number 'prompt_tokens', total = number 'total_time_sec',
    prompt = number 'total_prompt_time_sec', completion = number 'total_completion_time_sec',
  }
end

local ANSWER = json.known {'choices', 'usage', 'error', 'message', 'data'}
local CHOICE = json.known {'finish_reason', 'message', 'delta', 'text', 'logprobs'}
local SAID = json.known {'content', 'reasoning_content', 'tool_calls', 'reasoning'}

local function literal(text, field)
  return field and field.kind == 'string' and sub(text, field.from, field.to) or nil
end

-- What a choice says: content and thinking as literals, tool calls as Ollama has them; each nil if it is not there.
local function read_said(text, field)
  local found = field and field.kind == 'object' and json.members(text, field.from, field.to, SAID)
  if not found then return nil end
  local at = found.at
  return literal(text, at.content), literal(text, at.reasoning_content) or literal(text, at.reasoning),
    ollama_messages.tool_calls(text, at.tool_calls)
end

-- The first choice of an answer or an event: its fields, the answer's fields.
local function read_choice(text)
  local found = json.check(text) and json.members(text, nil, nil, ANSWER)
  if not found then return nil end
  local at = found.at
  local items = at.choices and json.items(text, at.choices.from, at.choices.to)
  local first = items and items[1]
  if not first or first.kind ~= 'object' then return nil, at end
  local choice = json.members(text, first.from, first.to, CHOICE)
  return choice and choice.at, at
end

local function message_of(content, thinking, calls)
  return '"message":{"role":"assistant","content":' .. (content or '""') .. (thinking and ',"thinking":' .. thinking or '')
    .. (calls and ',"tool_calls":' .. calls or '') .. '}'
end

local function said(request, content, thinking, calls)
  if request.call == 'chat' then return message_of(content, thinking, calls) end
  return '"response":' .. (content or '""') .. (thinking and ',"thinking":' .. thinking or '')
end

local EMBEDDING = json.known {'embedding'}

local function embedding_answer(request, text, at)
  local items = at.data and json.items(text, at.data.from, at.data.to)
  if not items then return nil end
  local out = {request.call == 'embed' and '{"model":' .. request.asked .. ',"embeddings":[' or '{"embedding":'}
  for k = 1, #items do
    local found = json.members(text, items[k].from, items[k].to, EMBEDDING)
    local vector = found and found.at.embedding
    if not vector then return nil end
    if k > 1 then add(out, ',') end
    add(out, vector.from, vector.to)
    if request.call == 'embeddings' then break end
  end
  if request.call == 'embed' then
    local usage = read_usage(text, at.usage)
    add(out, '],"total_duration":0,"load_duration":0,"prompt_eval_count":' .. format('%.0f', usage and usage.prompt_tokens or 0))
  end
  add(out, '}\n')
  return json.build(text, out)
end

local UNREADABLE = "The model server's answer could not be read."

function ollama.answer(request, text, now)
  local choice, at = read_choice(text)
  if request.kind == 'embeddings' then
    local made = at and embedding_answer(request, text, at)
    if made then return made end
    return nil, errors.problem(502, UNREADABLE, 'engine_error')
  end
  if not choice then return nil, errors.problem(502, UNREADABLE, 'engine_error') end
  local content, thinking, calls
  if choice.text then content = literal(text, choice.text) else content, thinking, calls = read_said(text, choice.message) end
  local reason = literal(text, choice.finish_reason)
  return '{"model":' .. request.asked .. ',"created_at":"' .. time(now) .. '",' .. said(request, content, thinking, calls)
    .. ending(reason == '"length"' and 'length' or 'stop', read_usage(text, at.usage)) .. '}\n'
end

local Translator = {}
Translator.__index = Translator

function ollama.stream(request, now, id)
  local start = '{"model":' .. request.asked .. ',"created_at":"' .. time(now) .. '",'
  local chats = request.call == 'chat'
  return setmetatable({
    request = request, start = start, events = 0, id = id, content_type = 'application/x-ndjson',
    text_start = start .. (chats and '"message":{"role":"assistant","content":"' or '"response":"'),
    text_end = chats and '"},"done":false}\n' or '","done":false}\n',
  }, Translator)
end

-- What the engine writes around the text of nearly every event: moved as it stands, without a look at the rest.
local CHAT_BEFORE = 'choices":[{"finish_reason":null,"index":0,"delta":{"content":"'
local CHAT_AFTER = '","role":"assistant","tool_calls":null},"logprobs":null}]'
local TEXT_BEFORE, TEXT_AFTER = 'choices":[{"text":"', '","index":0,"logprobs":null,"finish_reason":null}]'

function Translator:ended()
  self.done = true
  local usage = self.usage
  -- The engine counts no completions in a stream: each event is a token.
  if not usage and self.events > 0 then usage = {completion_tokens = self.events} end
  return self.start .. said(self.request) .. ending(self.reason or 'stop', usage) .. '}\n', true
end

function Translator:slow(line)
  local text = sub(line, 7)
  if not find(text, '^{') or find(text, '^{"error":') or not json.check(text) then
    self.done = true
    local ctx = {id = self.id}
    local out = errors.stream('ollama', text, ctx)
    self.problem, self.trace = ctx.problem, ctx.trace
    return out, true
  end
  local choice, at = read_choice(text)
  local usage = at and read_usage(text, at.usage)
  if usage then self.usage = usage end
  if not choice then return '' end
  local content, thinking, calls
  if choice.text then content = literal(text, choice.text) else content, thinking, calls = read_said(text, choice.delta) end
  local reason = literal(text, choice.finish_reason)
  if reason then self.reason = reason == '"length"' and 'length' or 'stop' end
  if content == '""' then content = nil end
  if not (content or thinking or calls) then return '' end
  self.events = self.events + 1
  return self.start .. said(self.request, content, thinking, calls) .. ',"done":false}\n'
end

function Translator:feed(line)
  if self.done then return '', true end
  local before, after = CHAT_BEFORE, CHAT_AFTER
  local _, from = find(line, before, 1, true)
  if not from then
    before, after = TEXT_BEFORE, TEXT_AFTER
    _, from = find(line, before, 1, true)
  end
  local to = from and find(line, after, from, true)
  if to then
    if to == from + 1 then return '' end
    self.events = self.events + 1
    return self.text_start .. sub(line, from + 1, to - 1) .. self.text_end
  end
  if sub(line, 1, 6) ~= 'data: ' then return '' end
  if sub(line, 7) == '[DONE]' then return self:ended() end
  return self:slow(line)
end

function Translator:fail(code, message, id)
  self.done = true
  return errors.event('ollama', errors.problem(502, message, code), id or self.id)
end

function Translator:finish()
  if self.done then return '' end
  if self.reason then return (self:ended()) end
  return self:fail('engine_died', errors.DIED)
end

return ollama
