-- Networks of addresses, and whether an address lies in one of them.
local ffi = require 'gateway.ffi'
local byte, floor = string.byte, math.floor

local M = {}

-- {'10.0.0.0/8', 'fe80::/10', '192.0.2.1'} as a list for `contains`; nil and the entry that is none.
function M.networks(list)
  local networks = {}
  for i, text in ipairs(list) do
    local host, bits = text:match('^([^/]+)/(%d+)$')
    local bytes = ffi.address(host or text)
    bits = tonumber(bits) or (bytes and #bytes * 8)
    if not bytes or bits > #bytes * 8 then
      return nil, text
    end
    networks[i] = { bytes = bytes, bits = bits }
  end
  return networks
end

local function is_in(network, address)
  local bytes, bits = network.bytes, network.bits
  if #bytes ~= #address then
    return false
  end
  local whole = floor(bits / 8)
  for i = 1, whole do
    if byte(bytes, i) ~= byte(address, i) then
      return false
    end
  end
  local rest = bits % 8
  if rest == 0 then
    return true
  end
  local divisor = 2 ^ (8 - rest)
  return floor(byte(bytes, whole + 1) / divisor) == floor(byte(address, whole + 1) / divisor)
end

local MAPPED = ('\0'):rep(10) .. '\255\255'

-- `address`: its 4 or 16 bytes, as in $binary_remote_addr.
function M.contains(networks, address)
  -- A socket for both families shows an IPv4 client as an IPv6 address.
  if #address == 16 and address:sub(1, 12) == MAPPED then
    address = address:sub(13)
  end
  for i = 1, #networks do
    if is_in(networks[i], address) then
      return true
    end
  end
  return false
end

return M
