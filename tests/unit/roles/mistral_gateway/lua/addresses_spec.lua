local addresses = require 'gateway.addresses'
local ffi = require 'gateway.ffi'

local function contains(list, address)
  return addresses.contains(assert(addresses.networks(list)), ffi.address(address))
end

describe('addresses', function()
  it('finds an address in its network', function()
    assert.is_true(contains({ '10.0.0.0/8' }, '10.255.0.1'))
    assert.is_false(contains({ '10.0.0.0/8' }, '11.0.0.1'))
    assert.is_true(contains({ '192.0.2.128/25' }, '192.0.2.200'))
    assert.is_false(contains({ '192.0.2.128/25' }, '192.0.2.100'))
    assert.is_true(contains({ '203.0.113.7' }, '203.0.113.7'))
    assert.is_false(contains({ '203.0.113.7' }, '203.0.113.8'))
    assert.is_true(contains({ '0.0.0.0/0' }, '203.0.113.8'))
    assert.is_true(contains({ '192.0.2.1', 'fe80::/10' }, 'fe80::1'))
    assert.is_false(contains({ 'fe80::/10' }, '2001:db8::1'))
    assert.is_false(contains({}, '192.0.2.1'))
  end)

  it('sees an IPv4 client through a socket for both families', function()
    assert.is_true(contains({ '192.0.2.0/24' }, '::ffff:192.0.2.1'))
  end)

  it('names the entry that is no network', function()
    for _, wrong in ipairs { '10.0.0.0/33', 'host', '10.0.0.0/x', 'fe80::/129' } do
      local networks, entry = addresses.networks { '10.0.0.1', wrong }
      assert.is_nil(networks)
      assert.equal(wrong, entry)
    end
  end)
end)
