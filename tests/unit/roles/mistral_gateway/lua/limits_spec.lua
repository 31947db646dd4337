local limits = require 'gateway.limits'
local shared_dict = require 'shared_dict'

describe('limits', function()
  local clock, dict
  -- Noon, 30 seconds before a minute ends.
  local NOW = 1795694370

  before_each(function()
    clock = { now = NOW }
    dict = shared_dict.new(clock)
    limits.start(dict, dict, 100)
  end)

  it('lets a key without limits in, and counts nothing for it', function()
    assert.is_true(limits.enter({ name = 'a' }, NOW))
    assert.same({}, dict:get_keys())
  end)

  it('takes so many requests in a minute, and says when the next one begins', function()
    local key = { name = 'a', requests_per_minute = 3 }
    for _ = 1, 3 do assert.is_true(limits.enter(key, NOW)) end
    local ok, what, retry = limits.enter(key, NOW)
    assert.same({ nil, 'requests_per_minute', 60 - NOW % 60 }, { ok, what, retry })
    assert.is_true(limits.enter({ name = 'b', requests_per_minute = 3 }, NOW))
    clock.now = NOW + retry
    assert.is_true(limits.enter(key, NOW + retry))
  end)

  it('takes so many requests at once', function()
    local key = { name = 'a', concurrent = 2 }
    local _, first = limits.enter(key, NOW)
    local _, second = limits.enter(key, NOW)
    assert.is_truthy(first)
    assert.are_not.equal(first, second)
    assert.same({ nil, 'concurrent', 1 }, { limits.enter(key, NOW) })
    limits.leave(key, first)
    assert.is_true(limits.enter(key, NOW))
    assert.is_nil(limits.enter(key, NOW))
  end)

  it('gives the place back when the minute is full', function()
    local key = { name = 'a', concurrent = 1, requests_per_minute = 1 }
    local _, place = limits.enter(key, NOW)
    limits.leave(key, place)
    assert.is_nil(limits.enter(key, NOW))
    clock.now = NOW + 60
    assert.is_true(limits.enter(key, NOW + 60))
  end)

  it('stops a key that has used its tokens of the minute or the day', function()
    local key = { name = 'a', tokens_per_minute = 10, tokens_per_day = 25 }
    assert.is_true(limits.enter(key, NOW))
    limits.spend(key, 12, NOW)
    assert.same({ nil, 'tokens_per_minute', 60 - NOW % 60 }, { limits.enter(key, NOW) })
    clock.now = NOW + 60
    assert.is_true(limits.enter(key, clock.now))
    limits.spend(key, 13, clock.now)
    assert.same({ nil, 'tokens_per_day', 86400 - clock.now % 86400 }, { limits.enter(key, clock.now) })
    clock.now = NOW + 86400
    assert.is_true(limits.enter(key, clock.now))
  end)

  it('gives back what a dead process had, and leaves the others theirs', function()
    local key = { name = 'a', concurrent = 2 }
    limits.start(dict, dict, 4194303)
    limits.enter(key, NOW)
    limits.start(dict, dict, 1)
    limits.enter(key, NOW)
    assert.is_nil(limits.enter(key, NOW))
    assert.equal(1, limits.sweep())
    assert.is_true(limits.enter(key, NOW))
    assert.is_nil(limits.enter(key, NOW))
  end)

  it('keeps the counts of running windows over a restart', function()
    local key = { name = 'a', requests_per_minute = 2, tokens_per_day = 100, concurrent = 1 }
    limits.enter(key, NOW)
    limits.spend(key, 40, NOW)
    local lines = {}
    limits.save(lines)
    assert.equal(2, #lines)

    local later = { now = NOW + 10 }
    limits.start(shared_dict.new(later), nil, 200)
    for _, line in ipairs(lines) do limits.restore(line, 10) end
    key = { name = 'a', requests_per_minute = 2, tokens_per_day = 40 }
    assert.same({ nil, 'tokens_per_day' }, { limits.enter(key, NOW + 10), (select(2, limits.enter(key, NOW + 10))) })
    key.tokens_per_day = nil
    assert.is_true(limits.enter(key, NOW + 10))
    assert.is_nil(limits.enter(key, NOW + 10))
  end)

  it('notices an address that tries many keys', function()
    for _ = 1, 3 do assert.is_nil(limits.is_flooding('192.0.2.1', NOW, 3)) end
    assert.equal(60 - NOW % 60, limits.is_flooding('192.0.2.1', NOW, 3))
    assert.is_nil(limits.is_flooding('192.0.2.2', NOW, 3))
  end)
end)
