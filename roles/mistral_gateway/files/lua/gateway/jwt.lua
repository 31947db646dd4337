-- Signed tokens (JWS, RS256 and ES256) from another issuer. The algorithm belongs to the stored key, never to the token.
local json = require 'gateway.json'
local ffi = require 'gateway.ffi'
local is_name = require('gateway.plan').is_name
local find, sub, gsub = string.find, string.sub, string.gsub

local M = {}

local MAX_BYTES = 8192
-- Seconds that two clocks may differ.
local LEEWAY = 30
-- Verified tokens of this process. A check costs as much as a whole request otherwise.
local MAX_VERIFIED = 1000
local verified, verified_count = {}, 0

local function base64url(text)
  local padding = #text % 4
  if padding == 1 or find(text, '[^%w_-]') then return nil end
  text = gsub(gsub(text, '-', '+'), '_', '/')
  return ffi.base64(padding == 0 and text or text .. ('='):rep(4 - padding))
end

-- A field's text, number or list of texts; nil for all else.
local function claim(text, field)
  if not field then return nil end
  if field.kind == 'string' then return json.string(text, field.from, field.to) end
  if field.kind == 'number' then return tonumber(sub(text, field.from, field.to)) end
  if field.kind ~= 'array' then return nil end
  local list = {}
  for i, item in ipairs(json.items(text, field.from, field.to, 256) or {}) do
    if item.kind ~= 'string' then return nil end
    list[i] = json.string(text, item.from, item.to)
  end
  return list
end

local function is_in(value, wanted)
  if type(value) ~= 'table' then return value == wanted end
  for _, entry in ipairs(value) do
    if entry == wanted then return true end
  end
  return false
end

-- Nobody's claims are looked at before the signature is known to be good.
local function signed_with(jwt, header, signature, text)
  local fields = json.check(header) and json.object(header)
  if not fields then return false end
  local algorithm, kid = claim(header, fields.at.alg), claim(header, fields.at.kid)
  -- A critical extension that is not understood makes a token invalid.
  if fields.at.crit then return false end
  for _, key in ipairs(jwt.keys) do
    if key.alg == algorithm and (not kid or not key.kid or key.kid == kid)
      and ffi.verify(key.public, key.alg, signature, text) then
      return true
    end
  end
  return false
end

-- What a verified token says as a key: a copy of the limits of `jwt`, or the key of the same name.
local function owner_of(plan, claims, get)
  local jwt = plan.jwt
  local name = get(claims, jwt.claim_name or 'sub')
  if type(name) ~= 'string' or not is_name(name) then return nil end
  local key = plan.by_name[name]
  local owner = {}
  for field, value in pairs(key or jwt) do
    if field ~= 'keys' and field ~= 'usage' and field ~= 'series' then owner[field] = value end
  end
  owner.name = name
  local tenant = jwt.claim_tenant and get(claims, jwt.claim_tenant)
  owner.tenant = type(tenant) == 'string' and is_name(tenant) and tenant or owner.tenant or name
  local models = jwt.claim_models and get(claims, jwt.claim_models)
  if type(models) == 'table' then
    -- A token can take models away from what the configuration allows, and add none.
    local may_use = {}
    for _, id in ipairs(models) do
      may_use[id] = not owner.may_use or owner.may_use[id]
    end
    owner.may_use = may_use
  end
  return owner
end

local function verify(plan, token, now)
  local first = find(token, '.', 1, true)
  local second = first and find(token, '.', first + 1, true)
  if not second or find(token, '.', second + 1, true) then return nil, 'wrong' end
  local header, payload = base64url(sub(token, 1, first - 1)), base64url(sub(token, first + 1, second - 1))
  local signature = base64url(sub(token, second + 1))
  if not header or not payload or not signature then return nil, 'wrong' end
  local jwt = plan.jwt
  if not signed_with(jwt, header, signature, sub(token, 1, second - 1)) then return nil, 'wrong' end

  local fields = json.check(payload) and json.object(payload, nil, nil, { fields = 256, name = 256 })
  if not fields then return nil, 'wrong' end
  local function get(at, name) return claim(payload, at[name]) end
  local at = fields.at
  local leeway = jwt.leeway or LEEWAY
  local expires, not_before = get(at, 'exp'), get(at, 'nbf')
  if type(expires) ~= 'number' then return nil, 'wrong' end
  if now >= expires + leeway then return nil, 'expired' end
  if not_before and (type(not_before) ~= 'number' or now < not_before - leeway) then return nil, 'wrong' end
  if get(at, 'iss') ~= jwt.issuer then return nil, 'wrong' end
  if jwt.audience and not is_in(get(at, 'aud'), jwt.audience) then return nil, 'wrong' end
  local owner = owner_of(plan, at, get)
  if not owner then return nil, 'wrong' end
  owner.expires = math.min(expires + leeway, owner.expires or 1 / 0)
  return owner
end

-- The token's owner, in the form of a key of the plan; nil and 'wrong' or 'expired'.
function M.owner(plan, token, now)
  if #token > MAX_BYTES then return nil, 'wrong' end
  local digest = ffi.sha256(token)
  local owner = verified[digest]
  if owner and owner.plan == plan then return owner end
  local why
  owner, why = verify(plan, token, now)
  if not owner then return nil, why end
  owner.plan = plan
  if verified_count >= MAX_VERIFIED then verified, verified_count = {}, 0 end
  verified[digest], verified_count = owner, verified_count + 1
  return owner
end

return M
