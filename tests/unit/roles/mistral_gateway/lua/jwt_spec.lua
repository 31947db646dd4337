local jwt = require 'gateway.jwt'
local plan_file = require 'gateway.plan'
local tokens = require 'tokens'

local NOW = 1500000000

describe('jwt', function()
  local plan = assert(plan_file.new {
    version = 1, line = '0.9', default_model = 'm', paths = {}, models = { { id = 'm', upstreams = { '127.0.0.1:1' } } },
    keys = { { name = 'carol', tokens_per_day = 7, models = { 'm' } } },
    jwt = {
      issuer = 'https://issuer', audience = 'gateway', claim_models = 'models', claim_tenant = 'team', concurrent = 3,
      models = { 'm' }, keys = { { kid = 'r1', alg = 'RS256', pem = tokens.RSA }, { alg = 'ES256', pem = tokens.EC } },
    },
  })

  local function owner(token, now)
    return jwt.owner(plan, token, now or NOW)
  end

  it('takes both algorithms, with the limits of the key of that name', function()
    for _, token in ipairs { tokens.RS256, tokens.ES256 } do
      local key = assert(owner(token))
      assert.same({ 'carol', 7, 2000000030 }, { key.name, key.tokens_per_day, key.expires })
    end
  end)

  it('gives the others the limits of all tokens, and no model that these have not', function()
    local key = assert(owner(tokens.MODELS))
    assert.same({ 'dora', 'red', 3 }, { key.name, key.tenant, key.concurrent })
    assert.is_truthy(key.may_use.m)
    assert.is_falsy(key.may_use.n)
  end)

  it('knows an expired token, also one that it has seen', function()
    assert.same({ nil, 'expired' }, { owner(tokens.EXPIRED) })
    assert.is_truthy(owner(tokens.ES256))
    assert.is_true(owner(tokens.ES256).expires < 2000000031)
  end)

  it('refuses whatever is not signed with the algorithm of the key', function()
    for _, name in ipairs { 'HS256', 'NONE', 'CONFUSED', 'ZERO', 'TAMPERED', 'KID', 'CRIT' } do
      assert.same({ nil, 'wrong' }, { owner(tokens[name]) }, name)
    end
  end)

  it('refuses other claims than it wants', function()
    for _, name in ipairs { 'NO_EXP', 'ISSUER', 'AUDIENCE', 'EARLY', 'NAME' } do
      assert.same({ nil, 'wrong' }, { owner(tokens[name]) }, name)
    end
  end)

  it('refuses what is no token', function()
    for _, text in ipairs { '', '.', '..', 'a.b', 'a.b.c.d', ('x'):rep(9000), '!.!.!', tokens.ES256 .. '=' } do
      assert.same({ nil, 'wrong' }, { owner(text) }, text)
    end
  end)
end)
