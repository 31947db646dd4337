local metrics = require 'gateway.metrics'
local shared_dict = require 'shared_dict'

describe('metrics', function()
  local dict

  before_each(function() dict = shared_dict.new { now = 0 } end)

  local function lines(gauges)
    metrics.flush(dict)
    local found = {}
    for line in metrics.render(dict, gauges or {}):gmatch '[^\n]+' do
      local name, value = line:match '^(.+) (%S+)$'
      found[name] = tonumber(value) or line
    end
    return found
  end

  it('counts requests, tokens and times', function()
    metrics.start { alice = {} }
    metrics.count('alice', 'm', 200, 3, 5, 0.2, 1.5, 0.04)
    metrics.count('alice', 'm', 200, 1, 2, 7, 400)
    metrics.count('alice', '', 429, 0, 0, nil, 0.01)
    metrics.count('', '', 401, 0, 0)
    local found = lines()
    assert.equal(2, found['mistral_gateway_requests_total{key="alice",model="m",status="200"}'])
    assert.equal(1, found['mistral_gateway_requests_total{key="alice",model="",status="429"}'])
    assert.equal(1, found['mistral_gateway_requests_total{key="",model="",status="401"}'])
    assert.equal(4, found['mistral_gateway_tokens_total{key="alice",model="m",kind="in"}'])
    assert.equal(7, found['mistral_gateway_tokens_total{key="alice",model="m",kind="out"}'])
    local first = 'mistral_gateway_first_byte_seconds'
    assert.equal(7.2, found[first .. '_sum{key="alice",model="m"}'])
    assert.equal(0, found[first .. '_bucket{key="alice",model="m",le="0.1"}'])
    assert.equal(1, found[first .. '_bucket{key="alice",model="m",le="0.25"}'])
    assert.equal(2, found[first .. '_bucket{key="alice",model="m",le="10"}'])
    assert.equal(2, found[first .. '_bucket{key="alice",model="m",le="+Inf"}'])
    local whole = 'mistral_gateway_request_seconds'
    assert.equal(1, found[whole .. '_bucket{key="alice",model="m",le="300"}'])
    assert.equal(2, found[whole .. '_count{key="alice",model="m"}'])
    assert.equal(1, found['mistral_gateway_queue_seconds_count{key="alice",model="m"}'])
  end)

  it('adds to what is there already', function()
    metrics.start { alice = {} }
    for _ = 1, 3 do
      metrics.count('alice', 'm', 200, 1, 1, 1, 1)
      metrics.flush(dict)
    end
    assert.equal(3, lines()['mistral_gateway_requests_total{key="alice",model="m",status="200"}'])
    assert.equal(3, lines()['mistral_gateway_first_byte_seconds_count{key="alice",model="m"}'])
  end)

  it('has one label for the keys of tokens, and for all if there are many', function()
    metrics.start { alice = {} }
    metrics.count('someone', 'm', 200, 1, 1, 1, 1)
    assert.equal(1, lines()['mistral_gateway_requests_total{key="other",model="m",status="200"}'])
    local many = {}
    for i = 1, 101 do many['k' .. i] = {} end
    metrics.start(many)
    metrics.count('k1', 'm', 200, 1, 1, 1, 1)
    assert.equal(2, lines()['mistral_gateway_requests_total{key="other",model="m",status="200"}'])
  end)

  it('says what each family is', function()
    metrics.start {}
    metrics.count('x', 'm', 200, 1, 1, 1, 1)
    metrics.flush(dict)
    local text = metrics.render(dict, { { name = 'up', help = 'Whether.', { 'a="b"', 1 }, { '', 0 } } })
    assert.matches('# TYPE mistral_gateway_first_byte_seconds histogram\n', text, 1, true)
    assert.matches('# TYPE mistral_gateway_requests_total counter\n', text, 1, true)
    assert.matches('# HELP up Whether.\n# TYPE up gauge\nup{a="b"} 1\nup 0\n', text, 1, true)
  end)
end)
