-- Whether the engines answer: asked once in a while, and told to load balancers.
local balance = require 'gateway.balance'

local M = {}

local CONNECT, READ = 1000, 2000

local function is_healthy(peer)
  local socket = ngx.socket.tcp()
  socket:settimeouts(CONNECT, CONNECT, READ)
  if not socket:connect(peer.host, peer.port) then return false end
  socket:send 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
  local line = socket:receive '*l'
  socket:close()
  return line ~= nil and line:find(' 200', 1, true) ~= nil
end

-- Asks all engines, at the same time.
function M.probe(plan)
  local threads = {}
  for i, peer in ipairs(plan.upstreams) do
    threads[i] = ngx.thread.spawn(is_healthy, peer)
  end
  for i, peer in ipairs(plan.upstreams) do
    local ok, answer = ngx.thread.wait(threads[i])
    balance.probed(peer, ok and answer, plan.health_seconds)
  end
end

-- GET /health, without a key: whether a request would find an engine, and no more.
function M.serve(plan)
  ngx.header['Content-Type'] = 'application/json'
  for _, peer in ipairs(plan.upstreams) do
    local is_drained, why_down = balance.state(peer)
    if not is_drained and not why_down then return ngx.say '{"status": "ok"}' end
  end
  ngx.status = 503
  ngx.header['Retry-After'] = 5
  ngx.say '{"status": "unavailable"}'
end

return M
