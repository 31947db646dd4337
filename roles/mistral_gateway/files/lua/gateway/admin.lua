-- For the host's administrator, over a socket that only root reaches: figures, and engines taken out of service and back.
--   GET /engines           one line for each: name, state, requests
--   POST /drain?engine=ADDRESS:PORT, POST /undrain?engine=ADDRESS:PORT
--   GET /usage?day=2026-11-27
--   GET /metrics
local balance = require 'gateway.balance'
local metrics = require 'gateway.metrics'
local queue = require 'gateway.queue'
local usage = require 'gateway.usage'

local M = {}

local plan

function M.start(the_plan)
  plan = the_plan
end

local function gauges()
  local engines = { name = 'mistral_gateway_engine_up', help = 'Whether the engine answers.' }
  local drained = { name = 'mistral_gateway_engine_drained', help = 'Whether the engine is taken out of service.' }
  local open = { name = 'mistral_gateway_engine_requests', help = 'Requests that the engine has from the gateway.' }
  for _, peer in ipairs(plan.upstreams) do
    local labels = 'engine="' .. peer.name .. '"'
    local is_drained, why_down, count = balance.state(peer)
    engines[#engines + 1] = { labels, why_down and 0 or 1 }
    drained[#drained + 1] = { labels, is_drained and 1 or 0 }
    open[#open + 1] = { labels, count }
  end
  local list = { engines, drained, open }
  if plan.queue then
    local running, waiting = queue.load()
    list[#list + 1] = { name = 'mistral_gateway_running', help = 'Requests with a place at the engines.', { '', running } }
    list[#list + 1] = { name = 'mistral_gateway_waiting', help = 'Requests that wait for a place.', { '', waiting } }
  end
  local expires = { name = 'mistral_gateway_key_expires_seconds', help = 'When a key expires, in seconds since 1970.' }
  for _, key in ipairs(plan.keys) do
    if key.expires then expires[#expires + 1] = { 'key="' .. key.name .. '"', key.expires } end
  end
  if #expires > 0 then list[#list + 1] = expires end
  return list
end

function M.metrics()
  local dict = ngx.shared.mistral_metrics
  metrics.flush(dict)
  ngx.header['Content-Type'] = 'text/plain; version=0.0.4'
  ngx.print(metrics.render(dict, gauges()))
end

local function engine_of(name)
  for _, peer in ipairs(plan.upstreams) do
    if peer.name == name then return peer end
  end
end

local function list_engines()
  for _, peer in ipairs(plan.upstreams) do
    local is_drained, why_down, count = balance.state(peer)
    ngx.say(peer.name, '\t', is_drained and 'drained' or why_down or 'ready', '\t', count)
  end
end

local function change(action)
  local peer = engine_of(ngx.var.arg_engine)
  if not peer then
    ngx.status = 404
    return ngx.say 'There is no such engine. GET /engines lists them.'
  end
  action(peer)
  list_engines()
end

local ACTIONS = {
  ['GET /engines'] = list_engines,
  ['GET /metrics'] = M.metrics,
  ['POST /drain'] = function() change(balance.drain) end,
  ['POST /undrain'] = function() change(balance.undrain) end,
  ['GET /usage'] = function()
    local lines = { usage.HEADER }
    usage.save(ngx.var.arg_day or usage.day(ngx.time()), lines)
    ngx.say(table.concat(lines, '\n'))
  end,
}

function M.serve()
  local action = ACTIONS[ngx.req.get_method() .. ' ' .. ngx.var.uri]
  ngx.header['Content-Type'] = 'text/plain'
  if not action then
    ngx.status = 404
    return ngx.say 'There is nothing at this address.'
  end
  return action()
end

return M
