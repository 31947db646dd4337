local ffi = require 'gateway.ffi'

local function hex(bytes)
  return (bytes:gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

describe('ffi', function()
  it('hashes as the standard says', function()
    assert.equal('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', hex(ffi.sha256 'abc'))
    -- RFC 4231, test case 2.
    assert.equal('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
      hex(ffi.hmac_sha256('Jefe', 'what do ya want for nothing?')))
  end)

  it('hashes one text after another', function()
    for _, text in ipairs { '', 'abc', ('a'):rep(1000), 'abc' } do
      assert.equal(ffi.sha256(text), ffi.sha256(text))
    end
    assert.equal('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', hex(ffi.sha256 ''))
  end)

  it('makes ids that nobody has had', function()
    local seen = {}
    -- More than are fetched at once.
    for _ = 1, 1000 do
      local id = ffi.random_id()
      assert.matches('^%x+$', id)
      assert.equal(32, #id)
      assert.is_nil(seen[id])
      seen[id] = true
    end
  end)

  it('finds what JSON does not have in a string', function()
    local function plain(text, from)
      return ffi.plain_length(require 'ffi'.cast('const uint8_t *', text) + (from or 1) - 1)
    end
    assert.equal(3, plain 'abc')
    assert.equal(2, plain('abc', 2))
    assert.equal(4, plain('caf\195\169"', 1) - 1)
    for c = 0, 31 do assert.equal(20, plain(('\255 '):rep(10) .. string.char(c) .. 'x')) end
    assert.equal(1, plain 'a"b')
    assert.equal(1, plain 'a\\b')
  end)

  it('reads base64 with its padding only', function()
    assert.equal('alice:sk-1', ffi.base64 'YWxpY2U6c2stMQ==')
    assert.equal('abcdef', ffi.base64 'YWJjZGVm')
    assert.is_nil(ffi.base64 'YWJjZGV')
    assert.is_nil(ffi.base64 'YW?j')
    assert.is_nil(ffi.base64 '')
  end)

  it('reads addresses', function()
    assert.equal('\192\0\2\1', ffi.address '192.0.2.1')
    assert.equal(16, #ffi.address '2001:db8::1')
    assert.is_nil(ffi.address '192.0.2')
    assert.is_nil(ffi.address 'localhost')
  end)

  it('knows living processes', function()
    assert.is_true(ffi.is_alive(ffi.pid()))
    assert.is_true(ffi.is_alive(1))
    assert.is_false(ffi.is_alive(4194303))
  end)

  it('locks a file until it is unlocked', function()
    local path = os.tmpname()
    local lock = ffi.lock(path)
    assert.is_truthy(lock)
    ffi.unlock(lock)
    local again = ffi.lock(path)
    assert.is_truthy(again)
    ffi.unlock(again)
    os.remove(path)
    assert.is_nil(ffi.lock '/nonexistent/lock')
  end)

  it('takes no key of the wrong kind', function()
    assert.is_nil(ffi.public_key('nonsense', 'RS256'))
  end)
end)
