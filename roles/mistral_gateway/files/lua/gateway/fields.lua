-- Which fields a body may have, by path, and what is asked of each. What is not here is left out of what the engine gets.
--
--   fields.of[kind] = {name = spec}            kind: the path below /v1/, as "chat/completions"
--   fields.refused[name] = sentence            whatever the path, if something is asked with it
--   fields.needed[kind] = name                 what a body must have
--   fields.max_tokens[kind] = name             under which name the engine takes the bound of the answer's length
--
-- spec: {check = function(work, field, spec), ...}; true for what passes as it is.
local json = require 'gateway.json'
local edits = require 'gateway.edits'
local messages = require 'gateway.messages'
local tools = require 'gateway.tools'
local blocks = require 'gateway.blocks'

local wrong, number = edits.wrong, edits.number

local fields = {}

-- A field that is null is one that is left out; where the engine takes no null it is taken away (`remove` is returned).
local REMOVE = 'remove'
fields.REMOVE = REMOVE

local function check_number(work, field, spec)
  if field.kind == 'null' then return spec.remove_null and REMOVE or nil end
  local value = number(work, field)
  if not value or value < spec.min or value > spec.max or (spec.whole and value % 1 ~= 0) then
    return wrong(field.name .. ' must be a ' .. (spec.whole and 'whole ' or '') .. 'number from ' .. spec.min .. ' to '
      .. spec.max .. '.', field.name)
  end
  work.given[field.name] = value
end

local function range(min, max) return {check = check_number, min = min, max = max} end
local function whole(min, max, remove_null)
  return {check = check_number, min = min, max = max, whole = true, remove_null = remove_null}
end

local function check_boolean(work, field, spec)
  if field.kind == 'null' then return spec.remove_null and REMOVE or nil end
  if field.kind ~= 'true' and field.kind ~= 'false' then
    return wrong(field.name .. ' must be true or false.', field.name)
  end
  work.given[field.name] = field.kind == 'true'
end

local BOOLEAN, FLAG = {check = check_boolean}, {check = check_boolean, remove_null = true}

local function check_text(_, field)
  if field.kind ~= 'string' and field.kind ~= 'null' then return wrong(field.name .. ' must be a text.', field.name) end
end

local function check_object(_, field)
  if field.kind ~= 'object' and field.kind ~= 'null' then return wrong(field.name .. ' must be an object.', field.name) end
end

local TEXT, OBJECT = {check = check_text}, {check = check_object}

-- The model's name is looked up by body.prepare; here is only its form.
local function check_model(_, field)
  if field.kind ~= 'string' and field.kind ~= 'null' then return wrong('model must be a text.', 'model') end
  if field.to - field.from > 1024 then return wrong('The name of the model is too long.', 'model') end
end

-- Several answers to one request take as many places in the engine.
local function check_choices(work, field)
  if field.kind == 'null' then return REMOVE end
  local value = number(work, field)
  if not value or value < 1 or value > 128 or value % 1 ~= 0 then
    return wrong(field.name .. ' must be a whole number from 1 to 128.', field.name)
  end
  if value > 1 and work.rules.exclusive then
    return wrong('This engine mixes up answers that it computes at the same time: leave ' .. field.name
      .. ' out, and send a request for each answer.', field.name, 'unsupported_value')
  end
  if value > work.rules.most_choices then
    return wrong(field.name .. ' must be at most ' .. work.rules.most_choices .. ' here: the engine computes no more at once.',
      field.name)
  end
  work.n = math.max(work.n, value)
end

local function check_max_tokens(work, field)
  if field.kind == 'null' then return REMOVE end
  local value = number(work, field)
  if not value or value < 1 or value % 1 ~= 0 or field.to - field.from > 15 then
    return wrong(field.name .. ' must be a whole number of at least 1.', field.name)
  end
  work.bounds[#work.bounds + 1] = {field = field, value = value}
end

local function check_stop(work, field)
  if field.kind == 'string' or field.kind == 'null' then return nil end
  local items = field.kind == 'array' and json.items(work.text, field.from, field.to, 16)
  if not items then return wrong(field.name .. ' must be a text or a list of at most 16 texts.', field.name) end
  for k = 1, #items do
    if items[k].kind ~= 'string' then return wrong(field.name .. ' must be a text or a list of texts.', field.name) end
  end
end

-- 0 and -1 mean "off" elsewhere; the engine takes no such number.
local function check_top_k(work, field)
  if field.kind == 'null' then return nil end
  local value = number(work, field)
  if not value or value < -1 or value % 1 ~= 0 or value > 1e6 then
    return wrong('top_k must be a whole number from 1.', 'top_k')
  end
  if value < 1 then return REMOVE end
end

-- The engine's scale begins with "low".
local function check_effort(work, field)
  if field.kind == 'null' then return nil end
  if field.kind ~= 'string' then return wrong('reasoning_effort must be a text.', 'reasoning_effort') end
  if edits.is(work, field, 'minimal') then edits.replace(work, field.from, field.to, '"low"') end
end

-- The engine takes one text. A list of one is that one.
local function check_prompt(work, field)
  work.input = field
  if field.kind == 'string' then return nil end
  local items = field.kind == 'array' and json.items(work.text, field.from, field.to, 1)
  if items and #items == 1 and items[1].kind == 'string' then
    edits.replace(work, field.from, items[1].from - 1, '')
    edits.replace(work, items[1].to + 1, field.to, '')
    return nil
  end
  return wrong('prompt must be one text: send a request for each prompt, and text instead of tokens.', 'prompt')
end

local MOST_INPUTS = 2048

local function check_input(work, field)
  work.input = field
  if field.kind == 'string' then return nil end
  if field.kind ~= 'array' then return wrong('input must be a text or a list.', 'input') end
  local items, sentence = json.items(work.text, field.from, field.to, 100000)
  if not items then return wrong('input: ' .. sentence, 'input') end
  if #items == 0 then return wrong('input must not be empty.', 'input') end
  if items[1].kind ~= 'number' and #items > MOST_INPUTS then
    return wrong('input has more than ' .. MOST_INPUTS .. ' elements.', 'input')
  end
end

local function check_url_format(work, field)
  if edits.is(work, field, 'b64_json') or edits.is(work, field, 'B64Json') then
    work.has_format = true
    edits.replace(work, field.from, field.to, '"B64Json"')
    return nil
  end
  if field.kind == 'null' then return REMOVE end
  return wrong('This endpoint keeps no images: response_format must be b64_json.', 'response_format', 'unsupported_value')
end

local function check_sound_format(work, field)
  if field.kind == 'null' then return REMOVE end
  work.has_format = true
  return check_text(work, field)
end

-- A span of time and a place in the engine for nobody to wait for, or what other clients have left there.
local function check_false(_, field)
  if field.kind == 'false' or field.kind == 'null' then return nil end
  return wrong('This endpoint answers at once: leave ' .. field.name .. ' out.', field.name, 'parameter_not_allowed')
end

local MODEL = {check = check_model}
local CHOICES, STOP, MAX_TOKENS = {check = check_choices}, {check = check_stop}, {check = check_max_tokens}

-- How an answer is drawn; the same for all that generate text.
local function with_sampling(more)
  local all = {
    model = MODEL, stream = BOOLEAN, temperature = range(0, 2), top_p = range(0, 1), top_k = {check = check_top_k},
    min_p = range(0, 1), presence_penalty = range(-2, 2), frequency_penalty = range(-2, 2), repetition_penalty = range(0, 10),
    dry_multiplier = range(0, 100), dry_base = range(0, 100), dry_allowed_length = whole(0, 100000), dry_sequence_breakers = true,
    logit_bias = OBJECT, grammar = OBJECT, truncate_sequence = BOOLEAN, seed = true, user = true, metadata = true,
  }
  for name, spec in pairs(more) do all[name] = spec or nil end
  return all
end

fields.of = {
  ['chat/completions'] = with_sampling {
    messages = {check = messages.check}, max_tokens = MAX_TOKENS, max_completion_tokens = MAX_TOKENS, n = CHOICES, stop = STOP,
    logprobs = FLAG, top_logprobs = whole(0, 20), tools = {check = tools.check}, tool_choice = {check = tools.check_choice},
    response_format = {check = tools.check_format}, enable_thinking = BOOLEAN, reasoning_effort = {check = check_effort},
    chat_template_kwargs = OBJECT, stream_options = OBJECT, parallel_tool_calls = true, functions = true, function_call = true,
    store = true, service_tier = true, modalities = true, prediction = true, verbosity = true, safety_identifier = true,
    prompt_cache_key = true, prompt_cache_retention = true,
  },
  completions = with_sampling {
    prompt = {check = check_prompt}, max_tokens = MAX_TOKENS, max_completion_tokens = MAX_TOKENS, n = CHOICES,
    best_of = {check = check_choices}, stop = STOP, echo = FLAG, suffix = TEXT, logprobs = whole(0, 5), stream_options = OBJECT,
  },
  embeddings = {
    model = MODEL, input = {check = check_input}, encoding_format = TEXT, dimensions = whole(1, 100000), user = true,
    truncate_sequence = BOOLEAN,
  },
  responses = with_sampling {
    input = {check = blocks.check_input}, instructions = TEXT, max_output_tokens = MAX_TOKENS, n = CHOICES, stop = STOP,
    logprobs = FLAG, top_logprobs = whole(0, 20), tools = {check = tools.check_responses}, tool_choice = true, include = true,
    text = OBJECT, reasoning = OBJECT, truncation = true, previous_response_id = TEXT, parallel_tool_calls = true, store = true,
    background = {check = check_false}, service_tier = true, stream_options = OBJECT, prompt_cache_key = true,
    safety_identifier = true, response_format = {check = tools.check_format},
  },
  messages = with_sampling {
    temperature = range(0, 1), messages = {check = blocks.check_messages}, system = {check = blocks.check_system},
    max_tokens = MAX_TOKENS, stop_sequences = STOP, tools = {check = tools.check_anthropic},
    tool_choice = {check = blocks.check_choice}, thinking = OBJECT, enable_thinking = BOOLEAN,
    reasoning_effort = {check = check_effort}, response_format = {check = tools.check_format}, service_tier = true,
  },
  ['images/generations'] = {
    model = MODEL, prompt = TEXT, n = whole(1, 4, true), response_format = {check = check_url_format},
    width = whole(64, 2048, true), height = whole(64, 2048, true), user = true,
  },
  ['audio/speech'] = {
    model = MODEL, input = TEXT, response_format = {check = check_sound_format}, voice = true, speed = true, instructions = true,
  },
  rerank = {model = MODEL, query = TEXT, documents = true, top_n = whole(1, 100000), return_documents = BOOLEAN},
}
fields.of['messages/count_tokens'] = fields.of.messages

fields.needed = {
  ['chat/completions'] = 'messages', completions = 'prompt', embeddings = 'input', responses = 'input', messages = 'messages',
  ['messages/count_tokens'] = 'messages', ['images/generations'] = 'prompt', ['audio/speech'] = 'input', rerank = 'query',
}

fields.max_tokens = {
  ['chat/completions'] = 'max_tokens', completions = 'max_tokens', responses = 'max_output_tokens', messages = 'max_tokens',
}

-- These make the engine search, fetch, run or keep something, or reach what other clients left there.
fields.refused = {}
for _, name in ipairs {
  'web_search_options', 'enable_search', 'enable_code_execution', 'code_execution_permission', 'enable_shell',
  'shell_skill_references', 'agent_permission', 'session_id', 'files', 'max_tool_rounds', 'tool_dispatch_url', 'container',
  'mcp_servers', 'conversation',
} do
  fields.refused[name] = 'This endpoint generates text only, and does not search, fetch, run or keep anything: leave ' .. name
    .. ' out.'
end
fields.refused.adapter = 'The adapter is not for the client to choose: leave adapter out.'
fields.refused.ignore_eos = 'An answer ends where the model ends it: leave ignore_eos out.'

return fields
