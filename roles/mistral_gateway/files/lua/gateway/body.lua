-- What a client asks, brought into the form that the engine gets: fields that the path may have, in their ranges; the
-- engine's name of the model; what `inference` sets where the client has left it out; the bound of an answer's length.
-- All else stays byte for byte as it was sent.
--
--   rules           = body.rules(plan)
--   out, request    = body.prepare(rules, kind, text, allowed, checked)     kind: the path below /v1/
--   nil, problem                                                           (as errors.problem makes it)
--   boolean         = body.is_refused(name)                                whether a field of this name is for no client
--
-- allowed: the names of the models that this key may use, {name = true}, or nil. checked: the text is known to be JSON.
-- request: model (of the plan), stream (boolean), n, max_tokens (the bound that the engine gets, or nil), ignored (names of
-- fields that the engine does not get, or nil), has_tools, has_media, from, to (where in the text the messages, the prompt or
-- the input lie: what the turns of a conversation begin with; nil for some kinds).
-- rules: plan, index (of models), features (what this line of the engine has: json_object, tool_required, messages),
-- exclusive, most_choices, defaults ({name, text} in order), limits (by model).
local new_table = require 'table.new'
local json = require 'gateway.json'
local edits = require 'gateway.edits'
local fields = require 'gateway.fields'
local models = require 'gateway.models'

local wrong, replace = edits.wrong, edits.replace
local REMOVE = fields.REMOVE

local body = {}

-- The first version that has it.
local FEATURES = {
  embeddings = {0, 7, 0}, responses = {0, 7, 0}, messages = {0, 8, 4}, tool_required = {0, 8, 4}, json_object = {0, 8, 19},
}

local function features_of(line)
  local parts = {}
  for digits in line:gmatch '%d+' do parts[#parts + 1] = tonumber(digits) end
  local features = {}
  for name, first in pairs(FEATURES) do
    local difference = 0
    for k = 1, 3 do
      if difference == 0 then difference = (parts[k] or 0) - first[k] end
    end
    features[name] = difference >= 0
  end
  return features
end

body.features_of = features_of

local DEFAULTS = {'temperature', 'top_p', 'top_k', 'min_p', 'repetition_penalty', 'presence_penalty', 'frequency_penalty'}

-- The smallest of the bounds that there are for an answer's length, or nil.
local function limit_of(plan, model)
  local limit = math.min(plan.max_tokens_limit or math.huge, model.max_tokens or math.huge,
    model.context_length or plan.context_length or math.huge)
  return limit < math.huge and limit or nil
end

function body.rules(plan)
  local queue = plan.queue or {}
  local rules = {
    plan = plan, index = models.index(plan), features = features_of(plan.line), defaults = {}, limits = {},
    exclusive = queue.exclusive or queue.running == 1, most_choices = math.min(128, queue.running or 128),
  }
  for _, name in ipairs(DEFAULTS) do
    local value = plan.defaults and plan.defaults[name]
    if value then
      rules.defaults[#rules.defaults + 1] = {name = name, text = json.encode(value)}
    end
  end
  for _, model in ipairs(plan.models) do rules.limits[model] = limit_of(plan, model) end
  return rules
end

local function by_place(one, other)
  return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end

-- Takes the fields from..to (of `count`) away, with the commas between them and what stays.
local function remove_run(work, all, from, to)
  if to < #all then
    replace(work, all[from].name_from, all[to + 1].name_from - 1, '')
  elseif from > 1 then
    replace(work, all[from - 1].to + 1, all[to].to, '')
  else
    replace(work, all[from].name_from, all[to].to, '')
  end
end

local function remove(work, all, gone)
  local from
  for k = 1, #all + 1 do
    if all[k] and gone[all[k].name] then
      from = from or k
    elseif from then
      remove_run(work, all, from, k - 1)
      from = nil
    end
  end
end

local function find_model(work, all, allowed)
  local field, index = all.at.model, work.rules.index
  local name = ''
  if field and field.kind == 'string' then
    local sentence
    if field.to - field.from > 1024 then return wrong('The name of the model is too long.', 'model') end
    name, sentence = json.string(work.text, field.from, field.to)
    if not name then return wrong(sentence, 'model') end
  elseif field and field.kind ~= 'null' then
    return wrong('model must be a text.', 'model')
  end
  work.model = models.find(index, name, allowed)
  if not work.model then return models.missing(index, name, allowed) end
end

-- Whether something is asked with a field: null, false and [] ask nothing.
local function asks(work, field)
  return field.kind ~= 'null' and field.kind ~= 'false'
    and not (field.kind == 'array' and #(json.items(work.text, field.from, field.to) or {1}) == 0)
end

-- Looks at each field; the names of those that the engine does not get go into `gone`.
local function check_fields(work, all, gone)
  local specs = fields.of[work.kind]
  for k = 1, #all do
    local field = all[k]
    local spec = specs[field.name]
    local refused = fields.refused[field.name]
    if refused then
      if asks(work, field) then return wrong(refused, field.name, 'parameter_not_allowed') end
      gone[field.name] = true
    elseif not spec then
      gone[field.name] = true
      work.ignored = work.ignored or {}
      work.ignored[#work.ignored + 1] = field.name
    elseif spec ~= true then
      local problem = spec.check(work, field, spec)
      if problem == REMOVE then
        gone[field.name] = true
      elseif problem then
        return problem
      end
    end
  end
end

local function check_together(work, all)
  local given = work.given
  if given.top_logprobs and given.top_logprobs > 0 and work.kind == 'chat/completions' and not given.logprobs then
    return wrong('top_logprobs needs logprobs to be true.', 'top_logprobs')
  end
  if work.must_call and not work.has_tools then return wrong('tool_choice needs tools.', 'tool_choice') end
  local best_of, n = all.at.best_of, all.at.n
  if best_of and n and (edits.number(work, best_of) or 1) < (edits.number(work, n) or 1) then
    return wrong('best_of must be at least n.', 'best_of')
  end
end

-- The bound of the answer's length, under the engine's name for it. Returns what is to be put in, or ''.
local function bound_tokens(work, all, gone)
  local name = fields.max_tokens[work.kind]
  if not name then return '' end
  local limit = work.rules.limits[work.model]
  local chosen
  for _, bound in ipairs(work.bounds) do
    -- Of OpenAI's two names for the same the newer one counts.
    if not chosen or bound.field.name == 'max_completion_tokens' then
      if chosen then gone[chosen.field.name] = true end
      chosen = bound
    else
      gone[bound.field.name] = true
    end
  end
  if not chosen then
    local default = work.rules.plan.defaults and work.rules.plan.defaults.max_tokens
    work.max_tokens = default and limit and math.min(default, limit) or default or limit
    -- A null is in the way.
    if all.at[name] then gone[name] = true end
    return work.max_tokens and '"' .. name .. '":' .. json.encode(work.max_tokens) .. ',' or ''
  end
  work.max_tokens = chosen.value
  if limit and chosen.value > limit then
    work.max_tokens = limit
    replace(work, chosen.field.from, chosen.field.to, json.encode(limit))
  end
  if chosen.field.name ~= name then edits.rename(work, chosen.field, name) end
  return ''
end

-- What the role sets where the client says nothing.
local function put_defaults(work, all)
  local specs, defaults, put = fields.of[work.kind], work.rules.defaults, ''
  for k = 1, #defaults do
    local default = defaults[k]
    if specs[default.name] then
      local field = all.at[default.name]
      if not field then
        put = put .. '"' .. default.name .. '":' .. default.text .. ','
      elseif field.kind == 'null' then
        replace(work, field.from, field.to, default.text)
      end
    end
  end
  return put
end

local function put_model(work, all)
  local field, id = all.at.model, work.model.id
  if not field then return '"model":' .. json.quote(id) .. ',' end
  if not (field.kind == 'string' and edits.is(work, field, id)) then replace(work, field.from, field.to, json.quote(id)) end
  return ''
end

function body.is_refused(name)
  return fields.refused[name] ~= nil
end

function body.prepare(rules, kind, text, allowed, checked)
  local ok, sentence = checked, nil
  if not ok then ok, sentence = json.check(text) end
  if not ok then
    local too_large = text and #text > json.limits.bytes
    return nil, wrong(sentence, nil, too_large and 'request_too_large' or 'invalid_json', too_large and 413 or 400)
  end
  local from, to = json.span(text)
  local all
  all, sentence = json.object(text, from, to)
  if not all then return nil, wrong(sentence, nil, 'invalid_json') end
  -- All fields that it gets, so that the table is made once.
  local work = {
    text = text, rules = rules, kind = kind, edits = new_table(8, 0), bounds = new_table(2, 0), given = {}, n = 1,
    model = nil, input = nil, parts = nil, max_tokens = nil, ignored = nil, has_tools = nil, has_media = nil,
    has_format = nil, must_call = nil,
  }
  local gone = {}
  local problem = find_model(work, all, allowed)
  if problem then return nil, problem end
  local needed = fields.needed[kind]
  if not all.at[needed] then return nil, wrong(needed .. ' is missing.', needed, 'missing_required_parameter') end
  problem = check_fields(work, all, gone) or check_together(work, all)
  if problem then return nil, problem end
  -- A byte order mark is not for the engine.
  if string.byte(text) == 0xEF then replace(work, 1, 3, '') end
  local put = put_model(work, all) .. put_defaults(work, all) .. bound_tokens(work, all, gone)
  if kind == 'images/generations' and not work.has_format then
    put = put .. '"response_format":"B64Json",'
  elseif kind == 'audio/speech' and not work.has_format then
    put = put .. '"response_format":"wav",'
  end
  if next(gone) then remove(work, all, gone) end
  if put ~= '' then replace(work, from + 1, from, put) end
  local out = text
  if #work.edits > 0 then
    if #work.edits > 1 then table.sort(work.edits, by_place) end
    out = json.splice(text, work.edits)
  end
  local input = work.input
  return out, {
    model = work.model, kind = kind, stream = work.given.stream == true, n = work.n, max_tokens = work.max_tokens,
    ignored = work.ignored, has_tools = work.has_tools, has_media = work.has_media,
    from = input and input.from, to = input and input.to,
  }
end

return body
