-- The models of the plan: by every name that people have for them, and as the lists of the APIs show them.
--
--   index  = models.index(plan)
--   model  = models.find(index, name, allowed)    nil: there is none, or this key may not use it
--   text   = models.list(index, allowed)          GET /v1/models
--   text   = models.one(index, name, allowed)     GET /v1/models/NAME; nil if there is none
--   text   = models.tags(index, allowed)          GET /api/tags
--   text   = models.ps(index, allowed)            GET /api/ps
--   text   = models.show(index, name, allowed)    POST /api/show; nil if there is none
--   text   = models.version(plan)                 GET /api/version
--   problem = models.missing(index, name, allowed)
--
-- plan: `models` (id, names, context_length, images, digest, size, quantization, family, modified, parameters, template, tools,
-- thinking, embedding_length, created, kind), `default_model`, `context_length`, `ollama_version`.
-- allowed: the names that a key may use, as {name = true}; nil for all.
-- A model answers to its id and its names, each also with and without `.gguf` and `:latest`, in any case of letters; the
-- default model also to "default" and to an empty name.
local json = require 'gateway.json'
local errors = require 'gateway.errors'

local lower, sub, match, format = string.lower, string.sub, string.match, string.format
local quote, concat = json.quote, table.concat

local models = {}

local function bare(name)
  name = lower(name)
  name = match(name, '^(.+):latest$') or name
  return match(name, '^(.+)%.gguf$') or name
end

-- Days since 1970 of a date, after the calendar's rule (Howard Hinnant, days_from_civil).
local function days(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

-- Seconds since 1970 of a time in RFC 3339 (its offset from UTC is not looked at); 0 if it is none.
local function seconds(text)
  local year, month, day, hour, minute, second = match(text or '', '^(%d%d%d%d)-(%d%d)-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)')
  if not year then return 0 end
  return days(tonumber(year), tonumber(month), tonumber(day)) * 86400 + hour * 3600 + minute * 60 + second
end

local function pad_digest(digest)
  digest = match(digest or '', '^sha256[:-]?(%x+)$') or digest or ''
  -- The program `ollama` ends if it has fewer than 12 characters.
  return #digest >= 12 and digest or digest .. ('0'):rep(64 - #digest)
end

local function number(value)
  return format('%.0f', value or 0)
end

local function prepare(plan, model)
  local created = model.created or seconds(model.modified)
  local modified = model.modified or os.date('!%Y-%m-%dT%H:%M:%SZ', created)
  local aliases = {}
  for _, name in ipairs(model.names or {}) do
    if name ~= model.id then aliases[#aliases + 1] = quote(name) end
  end
  local id = quote(model.id)
  -- Fields of OpenAI's and of Anthropic's lists side by side: each client reads its own.
  local openai = '{"id":' .. id .. ',"object":"model","created":' .. number(created) .. ',"owned_by":"mistral.rs"'
    .. ',"type":"model","display_name":' .. id .. ',"created_at":' .. quote(modified)
    .. ',"aliases":[' .. concat(aliases, ',') .. ']'
  local context = model.context_length or plan.context_length
  if context then openai = openai .. ',"context_length":' .. number(context) .. ',"max_model_len":' .. number(context) end
  local family = model.family or 'unknown'
  local details = '{"parent_model":"","format":"gguf","family":' .. quote(family) .. ',"families":[' .. quote(family)
    .. '],"parameter_size":' .. quote(model.parameters or '')
    .. ',"quantization_level":' .. quote(model.quantization or '') .. '}'
  local capabilities = {model.kind == 'embedding' and '"embedding"' or '"completion"'}
  if model.tools ~= false and model.kind ~= 'embedding' then capabilities[#capabilities + 1] = '"tools"' end
  if model.images then capabilities[#capabilities + 1] = '"vision"' end
  if model.thinking then capabilities[#capabilities + 1] = '"thinking"' end
  local name = quote(model.id .. ':latest')
  local size = number(model.size)
  local tag = '{"name":' .. name .. ',"model":' .. name .. ',"modified_at":' .. quote(modified) .. ',"size":' .. size
    .. ',"digest":' .. quote(pad_digest(model.digest)) .. ',"details":' .. details
  local info = '{"general.architecture":' .. quote(family) .. ',"general.basename":' .. id
  if context then info = info .. ',' .. quote(family .. '.context_length') .. ':' .. number(context) end
  if model.embedding_length then
    info = info .. ',' .. quote(family .. '.embedding_length') .. ':' .. number(model.embedding_length)
  end
  return {
    model = model,
    openai = openai .. '}',
    tag = tag .. ',"capabilities":[' .. concat(capabilities, ',') .. ']}',
    ps = tag .. ',"size_vram":' .. size .. ',"expires_at":"2318-01-01T00:00:00Z","context_length":' .. number(context) .. '}',
    show = '{"modelfile":' .. quote('FROM ' .. model.id) .. ',"parameters":"","template":'
      -- Clients look for tools in the template, and take its absence for their absence.
      .. quote(model.template or (model.tools ~= false and '{{ .Prompt }}{{ .Tools }}' or '{{ .Prompt }}'))
      .. ',"details":' .. details .. ',"model_info":' .. info .. '},"capabilities":[' .. concat(capabilities, ',')
      .. '],"modified_at":' .. quote(modified) .. '}\n',
  }
end

function models.index(plan)
  local index = {entries = {}, by_name = {}, of_model = {}, lists = setmetatable({}, {__mode = 'k'})}
  for k, model in ipairs(plan.models) do
    local entry = prepare(plan, model)
    index.entries[k], index.of_model[model] = entry, entry
    index.by_name[model.id] = model
    if model.id == plan.default_model then index.default = model end
  end
  -- An id goes before a name, a name before what is made of one.
  for _, model in ipairs(plan.models) do
    for _, name in ipairs(model.names or {}) do index.by_name[name] = index.by_name[name] or model end
  end
  for _, model in ipairs(plan.models) do
    local id = bare(model.id)
    index.by_name[id] = index.by_name[id] or model
    for _, name in ipairs(model.names or {}) do
      name = bare(name)
      index.by_name[name] = index.by_name[name] or model
    end
  end
  return index
end

local function is_allowed(model, allowed)
  if not allowed or allowed[model.id] then return true end
  for _, name in ipairs(model.names or {}) do
    if allowed[name] then return true end
  end
  return false
end

-- "default" is the plan's, or else the first that the key may use.
local function default_of(index, allowed)
  if is_allowed(index.default, allowed) then return index.default end
  for _, entry in ipairs(index.entries) do
    if is_allowed(entry.model, allowed) then return entry.model end
  end
end

function models.find(index, name, allowed)
  local model = index.by_name[name]
  if not model then
    if name == '' or name == 'default' or name == 'default:latest' then return default_of(index, allowed) end
    model = index.by_name[bare(name)]
  end
  return model and is_allowed(model, allowed) and model or nil
end

function models.missing(index, name, allowed)
  local names = {}
  for _, entry in ipairs(index.entries) do
    if is_allowed(entry.model, allowed) then names[#names + 1] = entry.model.id end
  end
  local list = concat(names, ', ')
  if #list > 500 then list = sub(list, 1, 500) .. ' …' end
  return errors.problem(404, 'The model ' .. quote(sub(name, 1, 200)) .. ' does not exist, or this key may not use it.'
    .. ' Available: ' .. (list == '' and 'none' or list) .. '.', 'model_not_found', 'model')
end

-- The texts of the allowed models one after the other; kept for each key's set of names.
local NONE = {}
local function join(index, allowed, which)
  local kept = index.lists[allowed or NONE]
  if not kept then
    kept = {}
    index.lists[allowed or NONE] = kept
  end
  if not kept[which] then
    local parts = {}
    for _, entry in ipairs(index.entries) do
      if is_allowed(entry.model, allowed) then parts[#parts + 1] = entry[which] end
    end
    kept[which] = concat(parts, ',')
  end
  return kept[which]
end

function models.list(index, allowed)
  return '{"object":"list","data":[' .. join(index, allowed, 'openai') .. '],"has_more":false}\n'
end

function models.one(index, name, allowed)
  local model = models.find(index, name, allowed)
  return model and index.of_model[model].openai .. '\n'
end

function models.tags(index, allowed)
  return '{"models":[' .. join(index, allowed, 'tag') .. ']}\n'
end

function models.ps(index, allowed)
  return '{"models":[' .. join(index, allowed, 'ps') .. ']}\n'
end

function models.show(index, name, allowed)
  local model = models.find(index, name, allowed)
  return model and index.of_model[model].show
end

-- Clients compare it with what they need: digits and dots only.
function models.version(plan)
  return '{"version":' .. quote(match(plan.ollama_version or '', '^[%d.]+$') or '0.12.6') .. '}\n'
end

return models
