-- Whose request it is: by key (Bearer, x-api-key or Basic), by signed token, or by client certificate.
local ffi = require 'gateway.ffi'
local jwt = require 'gateway.jwt'
local addresses = require 'gateway.addresses'
local sub, byte, lower, match, find = string.sub, string.byte, string.lower, string.match, string.find
local sha256, hmac_sha256 = ffi.sha256, ffi.hmac_sha256

local M = {}

-- Basic: the password is the key, or the name where there is no password.
local function from_basic(text)
  local pair = ffi.base64(text)
  if not pair then return nil end
  local name, password = match(pair, '^([^:]*):(.*)$')
  if password == '' then password = name end
  return password or pair
end

-- The secret in a header; nil and 'missing' or 'wrong'.
local function secret_of(authorization, api_key)
  if not authorization then
    if not api_key or api_key == '' then return nil, 'missing' end
    return api_key
  end
  -- Two secrets at once: which one the log should name is anybody's guess.
  if api_key and api_key ~= '' then return nil, 'two' end
  if sub(authorization, 1, 7) == 'Bearer ' and byte(authorization, 8) ~= 32 then return sub(authorization, 8) end
  local scheme, rest = match(authorization, '^(%a+) +(%S+)$')
  if not scheme then return nil, 'wrong' end
  scheme = lower(scheme)
  if scheme == 'bearer' then return rest end
  if scheme == 'basic' then
    local secret = from_basic(rest)
    if secret then return secret end
  end
  return nil, 'wrong'
end

-- Looking up a digest tells nothing by its time: nobody can steer a digest's bytes towards a stored one.
local function key_of(plan, secret)
  local key = plan.by_sha256[sha256(secret)]
  if plan.has_hmac then
    -- Always both, so that the time does not say of which kind a key is.
    local chosen = plan.by_hmac[hmac_sha256(plan.digest_secret, secret)]
    return key or chosen
  end
  return key
end

-- The key of a request; nil and 'missing', 'two', 'wrong' or 'expired'.
function M.find(plan, authorization, api_key, now)
  local secret, why = secret_of(authorization, api_key)
  if not secret then return nil, why end
  local key = key_of(plan, secret)
  if not key then
    if not plan.jwt or not find(secret, '.', 1, true) then return nil, 'wrong' end
    key, why = jwt.owner(plan, secret, now)
    if not key then return nil, why end
  end
  if key.expires and now >= key.expires then return nil, 'expired' end
  return key
end

-- The key of a client certificate that Nginx has verified, by the name in it.
function M.by_certificate(plan, subject, now)
  if not plan.mtls then return nil, 'missing' end
  local name = match(',' .. subject, ',CN=([^,+]+)')
  if not name or not plan.mtls.is_name[name] then return nil, 'wrong' end
  local key = plan.by_name[name]
  if not key then
    key = { name = name, tenant = name }
    plan.by_name[name] = key
  end
  if key.expires and now >= key.expires then return nil, 'expired' end
  return key
end

-- Whether a key may be used from an address (its bytes).
function M.is_allowed_from(key, address)
  return not key.networks or addresses.contains(key.networks, address)
end

return M
