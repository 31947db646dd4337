local plan = require 'gateway.plan'
local json = require 'gateway.json'

local function document(changes)
  local made = {
    version = 1, line = '0.9', default_model = 'm', paths = { 'chat/completions' },
    models = { { id = 'm', names = { 'm.gguf' }, upstreams = { '127.0.0.1:1234', '[::1]:1235' } } },
    keys = { { name = 'alice', sha256 = ('a'):rep(64), concurrent = 2 } },
  }
  for name, value in pairs(changes or {}) do made[name] = value end
  return made
end

local function refused(changes)
  local made, sentence = plan.new(document(changes))
  assert.is_nil(made)
  return sentence
end

describe('plan', function()
  it('takes what the role renders', function()
    local made = assert(plan.new(document { jwt = json.null, max_tokens_limit = json.null }))
    assert.is_nil(made.jwt)
    assert.equal('alice', made.by_sha256[('\170'):rep(32)].name)
    assert.equal('alice', made.by_name.alice.tenant)
    assert.equal(2, #made.models[1].peers)
    assert.same({ '[::1]', 1235 }, { made.models[1].peers[2].host, made.models[1].peers[2].port })
    assert.equal(made.models[1], made.model_of.m)
  end)

  it('names the field that is wrong', function()
    assert.equal('plan has an unknown field: colour.', refused { colour = 'red' })
    assert.equal('plan.version must be a whole number from 1.', refused { version = 'one' })
    assert.equal('plan.version must be 1.', refused { version = 2 })
    assert.equal('plan.queue lacks running.', refused { queue = { waiting = 3 } })
    assert.equal('plan.keys[1] lacks name.', refused { keys = { { tenant = 'x' } } })
    assert.equal('plan.keys[1].sha256 must be 64 hexadecimal digits.', refused { keys = { { name = 'a', sha256 = 'x' } } })
    assert.equal('plan.paths must be a list of texts.', refused { paths = { 1 } })
    assert.equal('models must name at least one model.', refused { models = {} })
    assert.equal('default_model is none of the models.', refused { default_model = 'other' })
  end)

  it('refuses what would work differently than it looks', function()
    assert.equal('The key a is there twice.', refused { keys = { { name = 'a' }, { name = 'a' } } })
    assert.equal('keys[1].hmac needs digest_secret.', refused { keys = { { name = 'a', hmac = ('b'):rep(64) } } })
    assert.equal('keys[1].addresses: 10.0.0.0/40 is neither an address nor a network.',
      refused { keys = { { name = 'a', addresses = { '10.0.0.0/40' } } } })
    assert.matches('^keys%[1%].name must be', refused { keys = { { name = 'a b' } } })
    assert.equal('models[1].upstreams: localhost:1 is not ADDRESS:PORT.',
      refused { models = { { id = 'm', upstreams = { 'localhost:1' } } } })
    assert.equal('jwt.keys[1].alg must be RS256 or ES256.',
      refused { jwt = { issuer = 'i', keys = { { alg = 'HS256', pem = 'x' } } } })
    assert.equal('jwt.keys[1].pem: it is not a public key in PEM.',
      refused { jwt = { issuer = 'i', keys = { { alg = 'ES256', pem = 'x' } } } })
  end)

  it('reads its file, or ends with a sentence', function()
    local path = os.tmpname()
    local file = io.open(path, 'w')
    file:write(json.encode(document()))
    file:close()
    assert.equal('m', plan.load(path).default_model)
    file = io.open(path, 'w')
    file:write '{"version": 1,}'
    file:close()
    local ok, sentence = pcall(plan.load, path)
    assert.is_false(ok)
    assert.equal(path, sentence:sub(1, #path))
    os.remove(path)
    assert.is_false(pcall(plan.load, path))
  end)
end)
