local balance = require 'gateway.balance'
local shared_dict = require 'shared_dict'

local function peer(name)
  return { name = name, drain = 'drain:' .. name, down = 'down:' .. name, failures = 'failures:' .. name, open = 'open:' .. name }
end

describe('balance', function()
  local clock, peers

  before_each(function()
    clock = { now = 1000 }
    balance.start(shared_dict.new(clock))
    peers = { peer 'a', peer 'b', peer 'c', peer 'd' }
  end)

  local function first(prefix)
    return balance.order(peers, prefix)[1]
  end

  it('sends the same beginning to the same engine, and spreads the others', function()
    local count = {}
    for i = 1, 400 do
      local chosen = first('conversation ' .. i)
      assert.equal(chosen, first('conversation ' .. i))
      count[chosen.name] = (count[chosen.name] or 0) + 1
    end
    for _, name in ipairs { 'a', 'b', 'c', 'd' } do assert.is_true(count[name] > 70 and count[name] < 130, name) end
  end)

  it('moves only the conversations of an engine that is drained, and moves them back', function()
    local before = {}
    for i = 1, 100 do before[i] = first('x' .. i) end
    balance.drain(peers[2])
    for i = 1, 100 do
      local now = first('x' .. i)
      assert.are_not.equal(peers[2], now)
      if before[i] ~= peers[2] then assert.equal(before[i], now) end
    end
    balance.undrain(peers[2])
    for i = 1, 100 do assert.equal(before[i], first('x' .. i)) end
  end)

  it('leaves out an engine that fails, for a while', function()
    balance.failed(peers[1], 'refused')
    assert.equal(4, #balance.order(peers, 'x'))
    balance.failed(peers[1], 'refused')
    assert.equal(3, #balance.order(peers, 'x'))
    clock.now = clock.now + 11
    assert.equal(4, #balance.order(peers, 'x'))
  end)

  it('asks all when all are said to be down, and none when all are drained', function()
    for _, each in ipairs(peers) do
      balance.probed(each, false, 2)
      balance.probed(each, false, 2)
    end
    assert.equal(4, #balance.order(peers, 'x'))
    balance.probed(peers[3], true, 2)
    assert.same({ peers[3] }, balance.order(peers, 'x'))
    for _, each in ipairs(peers) do balance.drain(each) end
    assert.same({}, balance.order(peers, 'x'))
    assert.same({}, balance.order({ peers[1] }, 'x'))
  end)

  it('relieves an engine that has clearly more to do', function()
    local busy = first 'x'
    for _ = 1, 5 do balance.begin(busy) end
    local order = balance.order(peers, 'x')
    assert.are_not.equal(busy, order[1])
    assert.equal(busy, order[4])
    for _ = 1, 5 do balance.finish(busy) end
    assert.equal(busy, first 'x')
  end)

  it('sees the same beginning in each turn of a conversation', function()
    local turns = {
      '{"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"a } b"}]}',
      '{"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"a } b"},'
        .. '{"role":"assistant","content":"c"},{"role":"user","content":"d"}]}',
    }
    local function prefix(text, most)
      local request = { model = { id = 'm' }, given = text, from = text:find '%[', to = #text - 1 }
      return balance.prefix('tenant', request, most or 4096)
    end
    assert.equal(prefix(turns[1]), prefix(turns[2]))
    assert.matches('a } b"}$', prefix(turns[1]))
    assert.are_not.equal(prefix(turns[1]), prefix((turns[1]:gsub('kind', 'rude'))))
    assert.equal(#prefix(turns[1], 10), #'tenant.m.' + 10)
  end)
end)
