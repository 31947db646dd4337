local queue = require 'gateway.queue'
local shared_dict = require 'shared_dict'

-- Semaphores of a test never wait: `wait` of the queue looks as often as it has time, and gives up.
local function semaphore()
  return { count = 0, post = function(self, n) self.count = self.count + n end, wait = function() return true end }
end

describe('queue', function()
  local dict, entries

  local function start(running, waiting)
    local clock = { now = 1000 }
    dict, entries = shared_dict.new(clock), shared_dict.new(clock)
    queue.start(dict, entries, 1, semaphore, { running = running, waiting = waiting })
  end

  it('gives a place at once while there are some', function()
    start(2, 4)
    local first, second = queue.try(), queue.try()
    assert.is_truthy(first)
    assert.is_truthy(second)
    assert.is_nil(queue.try())
    queue.leave(first, 1)
    assert.is_truthy(queue.try())
  end)

  it('lets a bounded number wait', function()
    start(1, 2)
    queue.try()
    assert.is_truthy(queue.join 'a')
    local last = queue.join 'a'
    assert.is_nil(queue.join 'a')
    queue.abandon(last)
    assert.is_truthy(queue.join 'a')
    assert.same({ 1, 2 }, { queue.load() })
  end)

  it('serves keys in turn', function()
    start(1, 10)
    local place = queue.try()
    local waiters = {}
    for i, name in ipairs { 'a', 'a', 'a', 'a', 'b', 'b' } do
      waiters[i] = queue.join(name)
      waiters[i].name = name .. i
    end
    local order = {}
    while #order < 6 do
      queue.leave(place, 1)
      for _, waiter in ipairs(waiters) do
        if not waiter.is_served then
          place = queue.wait(waiter, 0)
          if place then
            waiter.is_served = true
            order[#order + 1] = waiter.name
            break
          end
        end
      end
    end
    assert.same({ 'a1', 'b5', 'a2', 'b6', 'a3', 'a4' }, order)
  end)

  it('tells each its place, and moves up when one leaves the line', function()
    start(1, 5)
    queue.try()
    local a, b, c = queue.join 'a', queue.join 'b', queue.join 'c'
    assert.same({ 1, 2, 3 }, { queue.position(a), queue.position(b), queue.position(c) })
    queue.abandon(a)
    assert.same({ 1, 2 }, { queue.position(b), queue.position(c) })
    -- It is woken, being the first now.
    assert.equal(1, b.semaphore.count)
  end)

  it('lets nobody pass those that wait', function()
    start(1, 5)
    local place = queue.try()
    local waiter = queue.join 'a'
    queue.leave(place, 1)
    assert.is_nil(queue.try())
    assert.is_truthy(queue.wait(waiter, 0))
    assert.same({ 1, 0 }, { queue.load() })
  end)

  it('waits for a waiting request of another process that came before', function()
    start(1, 5)
    local place = queue.try()
    dict:set('head:2', 0.5)
    local waiter = queue.join 'a'
    queue.leave(place, 1)
    assert.is_nil(queue.wait(waiter, 0))
    dict:delete 'head:2'
    assert.is_truthy(queue.wait(waiter, 0))
  end)

  it('keeps a place for a while where the engine goes on', function()
    start(1, 5)
    local place = queue.try()
    queue.leave(place, 1, 3)
    assert.is_nil(queue.try())
  end)

  it('says when it is worth coming back', function()
    start(2, 5)
    assert.equal(1, queue.retry_after())
    local place = queue.try()
    queue.try()
    queue.join 'a'
    queue.leave(place, 40)
    assert.equal(20, queue.retry_after())
  end)

  it('gives back what dead processes had', function()
    start(2, 5)
    dict:set('place:1', 4194303)
    dict:set('place:2', 4194303)
    dict:set('waiting', 3)
    dict:set('waiting:4194303', 3)
    assert.is_nil(queue.try())
    queue.sweep()
    assert.is_truthy(queue.try())
    assert.equal(0, dict:get 'waiting')
  end)
end)
