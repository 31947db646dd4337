local keys = require 'gateway.keys'
local plan_file = require 'gateway.plan'
local ffi = require 'gateway.ffi'

local function hex(bytes)
  return (bytes:gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

local NOW = 1000

describe('keys', function()
  local plan = assert(plan_file.new {
    version = 1, line = '0.9', default_model = 'm', paths = {}, models = { { id = 'm', upstreams = { '127.0.0.1:1' } } },
    digest_secret = 'salt',
    keys = {
      { name = 'alice', sha256 = hex(ffi.sha256 'sk-alice'), sha256_before = hex(ffi.sha256 'sk-before') },
      { name = 'bob', hmac = hex(ffi.hmac_sha256('salt', 'chosen')), addresses = { '10.0.0.0/8' } },
      { name = 'old', sha256 = hex(ffi.sha256 'sk-old'), expires = 999 },
      { name = 'cert', concurrent = 1 },
    },
    mtls = { names = { 'cert', 'robot' } },
  })

  local function name_of(authorization, api_key)
    local key, why = keys.find(plan, authorization, api_key, NOW)
    return key and key.name or why
  end

  it('takes a key in each form', function()
    assert.equal('alice', name_of 'Bearer sk-alice')
    assert.equal('alice', name_of 'bearer   sk-alice')
    assert.equal('alice', name_of(nil, 'sk-alice'))
    assert.equal('alice', name_of 'Bearer sk-before')
    assert.equal('alice', name_of('Bearer sk-alice', ''))
    -- any:sk-alice, and sk-alice: without a password
    assert.equal('alice', name_of 'Basic YW55OnNrLWFsaWNl')
    assert.equal('alice', name_of 'Basic c2stYWxpY2U6')
    assert.equal('bob', name_of 'Bearer chosen')
  end)

  it('refuses all else, and knows why', function()
    assert.equal('missing', name_of())
    assert.equal('missing', name_of(nil, ''))
    assert.equal('two', name_of('Bearer sk-alice', 'sk-alice'))
    assert.equal('wrong', name_of 'Bearer sk-alicf')
    assert.equal('wrong', name_of 'Bearer ')
    assert.equal('wrong', name_of 'sk-alice')
    assert.equal('wrong', name_of 'Digest sk-alice')
    assert.equal('wrong', name_of 'Basic ???')
    assert.equal('wrong', name_of 'Bearer __index')
    assert.equal('wrong', name_of 'Bearer sk-alice x')
    assert.equal('expired', name_of 'Bearer sk-old')
  end)

  -- A comparison ends at the first byte that differs. Here it is one of digests, whose bytes say nothing of the secret's.
  it('compares digests only, and as many for each guess', function()
    local seen
    local function watched(list)
      return setmetatable({}, { __index = function(_, digest)
        seen[#seen + 1] = digest
        return list[digest]
      end })
    end
    local spied = setmetatable({ by_sha256 = watched(plan.by_sha256), by_hmac = watched(plan.by_hmac) }, { __index = plan })
    local guesses = { 'sk-alice', 'sk-alicf', 'sk-', 'x', 'chosen', 'chosem', ('y'):rep(1000) }
    for _, guess in ipairs(guesses) do
      seen = {}
      keys.find(spied, 'Bearer ' .. guess, nil, NOW)
      assert.same({ ffi.sha256(guess), ffi.hmac_sha256('salt', guess) }, seen)
    end
  end)

  it('takes a certificate by the name in it', function()
    assert.equal('cert', keys.by_certificate(plan, 'CN=cert,O=lab', NOW).name)
    assert.equal(1, keys.by_certificate(plan, 'O=lab,CN=cert', NOW).concurrent)
    assert.equal('robot', keys.by_certificate(plan, 'CN=robot', NOW).tenant)
    assert.is_nil(keys.by_certificate(plan, 'CN=alice', NOW))
    assert.is_nil(keys.by_certificate(plan, 'O=CN=cert', NOW))
  end)

  it('keeps a key to its addresses', function()
    local bob = keys.find(plan, 'Bearer chosen', nil, NOW)
    assert.is_true(keys.is_allowed_from(bob, ffi.address '10.1.2.3'))
    assert.is_false(keys.is_allowed_from(bob, ffi.address '192.0.2.1'))
    assert.is_true(keys.is_allowed_from(plan.by_name.alice, ffi.address '192.0.2.1'))
  end)
end)
