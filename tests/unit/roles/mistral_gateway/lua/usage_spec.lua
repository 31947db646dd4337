local usage = require 'gateway.usage'
local state = require 'gateway.state'
local limits = require 'gateway.limits'
local shared_dict = require 'shared_dict'

local NOW = 1795694370
local DAY = '2026-11-26'

describe('usage', function()
  local clock, dict

  before_each(function()
    clock = { now = NOW }
    dict = shared_dict.new(clock)
    usage.start(dict, 100)
  end)

  local function rows(day)
    local lines = {}
    usage.save(day or DAY, lines)
    return lines
  end

  it('adds up by key, model and day', function()
    local alice, bob = { name = 'alice' }, { name = 'bob' }
    usage.record(alice, 'org/model:7b q4', 3, 5, 0, NOW)
    usage.record(alice, 'org/model:7b q4', 1, 1, 0, NOW)
    usage.record(bob, 'm', 0, 2, 9, NOW)
    usage.record(alice, 'm', 1, 1, 0, NOW + 86400)
    assert.same({ 'alice\torg/model:7b q4\t2\t4\t6\t0', 'bob\tm\t1\t0\t2\t9' }, rows())
    assert.same({ 'alice\tm\t1\t1\t1\t0' }, rows '2026-11-27')
  end)

  it('books what the streams of a killed process had brought', function()
    usage.start(dict, 4194303)
    local name = usage.open_name({ name = 'alice' }, 'm', 'id-1')
    usage.progress(name, 3)
    usage.progress(name, 4)
    local closed = usage.open_name({ name = 'alice' }, 'm', 'id-2')
    usage.progress(closed, 1)
    usage.close(closed)
    usage.start(dict, 1)
    usage.progress(usage.open_name({ name = 'bob' }, 'm', 'id-3'), 9)
    assert.same({ { id = 'id-1', key = 'alice', model = 'm', tokens = 7 } }, usage.sweep(NOW))
    assert.same({ 'alice\tm\t1\t0\t7\t0' }, rows())
    assert.same({}, usage.sweep(NOW))
  end)

  it('outlives a restart', function()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute('mkdir ' .. folder))
    limits.start(shared_dict.new(clock), nil, 100)
    usage.record({ name = 'alice' }, 'm', 3, 5, 0, NOW)
    limits.spend({ name = 'alice', tokens_per_day = 9 }, 8, NOW)
    assert(state.save(folder, NOW))

    local later = { now = NOW + 60 }
    dict = shared_dict.new(later)
    usage.start(dict, 200)
    limits.start(shared_dict.new(later), nil, 200)
    state.load(folder, NOW + 60)
    usage.record({ name = 'alice' }, 'm', 1, 1, 0, NOW)
    limits.spend({ name = 'alice', tokens_per_day = 9 }, 1, NOW)
    assert.same({ 'alice\tm\t2\t4\t6\t0' }, rows())
    assert.is_nil(limits.enter({ name = 'alice', tokens_per_day = 9 }, NOW))
    os.execute('rm -r ' .. folder)
  end)

  it('says why it cannot be written', function()
    assert.same({ nil, '/nonexistent/lock cannot be locked' }, { state.save('/nonexistent', NOW) })
  end)
end)
