-- The plan: what the role has rendered for this host, checked field by field. Nothing else configures the gateway.
local json = require 'gateway.json'
local ffi = require 'gateway.ffi'
local addresses = require 'gateway.addresses'

local M = {}

-- The plan's fields. A trailing ! means that the field must be there; [] a list of these; a table is an object of these
-- fields. null is the same as left out.
local LIMITS = {
  requests_per_minute = 'count', concurrent = 'count', tokens_per_minute = 'count', tokens_per_day = 'count',
  models = 'strings', addresses = 'strings', expires = 'number',
}

local function with_limits(fields)
  for name, kind in pairs(LIMITS) do fields[name] = kind end
  return fields
end

local MODEL = {
  id = 'string!', names = 'strings', upstreams = 'strings!', context_length = 'count', images = 'boolean',
  digest = 'string', size = 'number', quantization = 'string', family = 'string', modified = 'string',
  parameters = 'string', template = 'string', tools = 'boolean', thinking = 'boolean', embedding_length = 'count',
  max_tokens = 'count', created = 'number', kind = 'string',
}
-- sha256: of a generated key; hmac: HMAC-SHA-256 of a chosen key with `digest_secret`; _before: of the key that a rotation
-- has left valid. All in hexadecimal digits. A key without a digest gives the limits of a certificate's or a token's owner
-- of this name.
local KEY = with_limits {
  name = 'string!', tenant = 'string', sha256 = 'digest', hmac = 'digest', sha256_before = 'digest', hmac_before = 'digest',
}
local JWT_KEY = { kid = 'string', alg = 'string!', pem = 'string!' }
local JWT = with_limits {
  issuer = 'string!', audience = 'string', keys = { JWT_KEY }, claim_models = 'string', claim_tenant = 'string',
  claim_name = 'string', leeway = 'number',
}
local MTLS = { names = 'strings!' }
local DEFAULTS = {
  temperature = 'number', top_p = 'number', max_tokens = 'count', top_k = 'number', min_p = 'number',
  repetition_penalty = 'number', presence_penalty = 'number', frequency_penalty = 'number',
}
-- exclusive: the engine mixes up answers that it computes at the same time, and goes on with one whose client has left.
local QUEUE = { running = 'count!', waiting = 'whole!', timeout = 'count', exclusive = 'boolean', silence = 'count' }
local PLAN = {
  version = 'count!', server_names = 'strings', context_length = 'count', line = 'string', models = { MODEL },
  default_model = 'string!', keys = { KEY }, digest_secret = 'string', jwt = JWT, mtls = MTLS, defaults = DEFAULTS,
  max_tokens_limit = 'count', queue = QUEUE, paths = 'strings!', cors = 'strings', ollama_open = 'strings',
  state_path = 'string', affinity_bytes = 'count', health_seconds = 'count', unauthorized_per_minute = 'count',
  ollama_version = 'string',
}

local is_kind = {
  string = function(value) return type(value) == 'string' end,
  number = function(value) return type(value) == 'number' end,
  boolean = function(value) return type(value) == 'boolean' end,
  whole = function(value) return type(value) == 'number' and value >= 0 and value % 1 == 0 end,
  count = function(value) return type(value) == 'number' and value >= 1 and value % 1 == 0 end,
  digest = function(value) return type(value) == 'string' and #value == 64 and not value:find '[^0-9a-f]' end,
  strings = function(value)
    if type(value) ~= 'table' then return false end
    local count = 0
    for _, entry in pairs(value) do
      count = count + 1
      if type(entry) ~= 'string' then return false end
    end
    return count == #value
  end,
}
local NAMED = {
  string = 'a text', number = 'a number', boolean = 'true or false', whole = 'a whole number from 0',
  count = 'a whole number from 1', digest = '64 hexadecimal digits', strings = 'a list of texts',
}

local check

local function check_value(value, kind, where)
  if type(kind) == 'string' then
    kind = kind:gsub('!$', '')
    if not is_kind[kind](value) then return where .. ' must be ' .. NAMED[kind] .. '.' end
  elseif kind[1] then
    if type(value) ~= 'table' then return where .. ' must be a list.' end
    for i, entry in ipairs(value) do
      local wrong = check(entry, kind[1], where .. '[' .. i .. ']')
      if wrong then return wrong end
    end
  else
    return check(value, kind, where)
  end
end

-- Drops the nulls; returns what is wrong, or nil.
function check(value, fields, where)
  if type(value) ~= 'table' or #value > 0 then return where .. ' must be an object.' end
  for name, entry in pairs(value) do
    if entry == json.null then
      value[name] = nil
    else
      if not fields[name] then return where .. ' has an unknown field: ' .. tostring(name) .. '.' end
      local wrong = check_value(entry, fields[name], where .. '.' .. name)
      if wrong then return wrong end
    end
  end
  for name, kind in pairs(fields) do
    if type(kind) == 'string' and kind:sub(-1) == '!' and value[name] == nil then
      return where .. ' lacks ' .. name .. '.'
    end
  end
end

-- In a file of counts and in the log each name is one word.
function M.is_name(text)
  return #text <= 64 and text:find '^[%w][%w._@:+-]*$' ~= nil
end

local MAX_CONCURRENT = 1024
-- The log has names in quotes, as they are.
local UNQUOTED = '[%c"\\]'

local function prepare_owner(owner, where)
  if owner.concurrent and owner.concurrent > MAX_CONCURRENT then
    return where .. '.concurrent must be at most ' .. MAX_CONCURRENT .. '.'
  end
  if owner.addresses then
    local networks, wrong = addresses.networks(owner.addresses)
    if not networks then return where .. '.addresses: ' .. wrong .. ' is neither an address nor a network.' end
    owner.networks = networks
  end
  if owner.models then
    owner.may_use = {}
    for _, id in ipairs(owner.models) do owner.may_use[id] = true end
  end
end

local function unhex(text)
  return (text:gsub('..', function(pair) return string.char(tonumber(pair, 16)) end))
end

local function prepare_keys(plan)
  plan.keys = plan.keys or {}
  plan.by_sha256, plan.by_hmac, plan.by_name = {}, {}, {}
  for i, key in ipairs(plan.keys) do
    local where = 'keys[' .. i .. ']'
    if not M.is_name(key.name) then
      return where .. '.name must be at most 64 letters, digits, dots, dashes, underscores, colons or @.'
    end
    if plan.by_name[key.name] then return 'The key ' .. key.name .. ' is there twice.' end
    if (key.hmac or key.hmac_before) and not plan.digest_secret then return where .. '.hmac needs digest_secret.' end
    local wrong = prepare_owner(key, where)
    if wrong then return wrong end
    key.tenant = key.tenant or key.name
    if key.tenant:find(UNQUOTED) then return where .. '.tenant has a character that no name has.' end
    plan.by_name[key.name] = key
    for _, field in ipairs { 'sha256', 'sha256_before', 'hmac', 'hmac_before' } do
      local digests = field:sub(1, 1) == 's' and plan.by_sha256 or plan.by_hmac
      if key[field] then digests[unhex(key[field])] = key end
    end
  end
  plan.has_hmac = next(plan.by_hmac) ~= nil
end

local function prepare_upstream(text)
  local host, port = text:match '^(.+):(%d+)$'
  if not host then return nil end
  if not ffi.address((host:gsub('^%[(.*)%]$', '%1'))) then return nil end
  return {
    name = text, host = host, port = tonumber(port),
    -- The names of what the shared dictionary knows about it.
    drain = 'drain:' .. text, down = 'down:' .. text, failures = 'failures:' .. text, open = 'open:' .. text,
  }
end

local function prepare_models(plan)
  if not plan.models or #plan.models == 0 then return 'models must name at least one model.' end
  plan.upstreams, plan.model_of = {}, {}
  local seen = {}
  for i, model in ipairs(plan.models) do
    if model.id:find(UNQUOTED) then return 'models[' .. i .. '].id has a character that no name has.' end
    model.peers = {}
    for k, text in ipairs(model.upstreams) do
      local peer = seen[text] or prepare_upstream(text)
      if not peer then return 'models[' .. i .. '].upstreams: ' .. text .. ' is not ADDRESS:PORT.' end
      if not seen[text] then
        seen[text] = peer
        plan.upstreams[#plan.upstreams + 1] = peer
      end
      model.peers[k] = peer
    end
    if #model.peers == 0 then return 'models[' .. i .. '].upstreams must name at least one engine.' end
    plan.model_of[model.id] = model
  end
  if not plan.model_of[plan.default_model] then return 'default_model is none of the models.' end
end

local function prepare_jwt(plan)
  local jwt = plan.jwt
  if not jwt then return end
  local wrong = prepare_owner(jwt, 'jwt')
  if wrong then return wrong end
  if not jwt.keys or #jwt.keys == 0 then return 'jwt.keys must have at least one key.' end
  for i, key in ipairs(jwt.keys) do
    if key.alg ~= 'RS256' and key.alg ~= 'ES256' then return 'jwt.keys[' .. i .. '].alg must be RS256 or ES256.' end
    key.public, wrong = ffi.public_key(key.pem, key.alg)
    if not key.public then return 'jwt.keys[' .. i .. '].pem: ' .. wrong .. '.' end
  end
end

-- Makes of a decoded document the plan that the other modules read; nil and a sentence if it is none.
-- Added: by_sha256, by_hmac (digest in bytes: key), by_name, upstreams (all engines), model_of (id: model), and in the
-- models peers, in the keys networks and may_use.
function M.new(document)
  local wrong = check(document, PLAN, 'plan')
  if wrong then return nil, wrong end
  if document.version ~= 1 then return nil, 'plan.version must be 1.' end
  wrong = prepare_keys(document) or prepare_models(document) or prepare_jwt(document)
  if wrong then return nil, wrong end
  local mtls = document.mtls
  if mtls then
    mtls.is_name = {}
    for _, name in ipairs(mtls.names) do mtls.is_name[name] = true end
  end
  if document.ollama_open then
    document.open_networks, wrong = addresses.networks(document.ollama_open)
    if not document.open_networks then
      return nil, 'ollama_open: ' .. wrong .. ' is neither an address nor a network.'
    end
  end
  -- Nothing is known of the engine: nothing is expected of it.
  document.line = document.line or '0'
  document.affinity_bytes = document.affinity_bytes or 4096
  document.health_seconds = document.health_seconds or 2
  document.unauthorized_per_minute = document.unauthorized_per_minute or 60
  return document
end

-- Ends the start of Nginx with the sentence if the file is not a plan.
function M.load(path)
  local file, missing = io.open(path, 'rb')
  if not file then error(missing, 0) end
  local text = file:read '*a'
  file:close()
  local document, sentence = json.decode(text)
  if not document then error(path .. ': ' .. sentence, 0) end
  local plan
  plan, sentence = M.new(document)
  if not plan then error(path .. ': ' .. sentence, 0) end
  return plan
end

return M
