-- Which engine gets a request: the same one for the same beginning of a conversation, since it has that in its cache, unless
-- it has clearly more to do than the others. An engine can be drained, and one that fails is left out for a while.
-- In the shared dictionary: drain:PEER, down:PEER (why), failures:PEER, and open:PEER, the requests that it has.
local ffi = require 'gateway.ffi'
local byte, sub, find, ceil, min, sort = string.byte, string.sub, string.find, math.ceil, math.min, table.sort
local sha256 = ffi.sha256

local M = {}

-- How much more than its share an engine may have before others take over.
local SLACK = 1.25
-- So many failures within FAIL_SECONDS, and it is left out for DOWN_SECONDS.
local FAILURES, FAIL_SECONDS, DOWN_SECONDS = 2, 10, 10
-- A killed process does not give back what it had open: the count begins anew when an engine was idle for so long.
local OPEN_LIVES = 900

local dict

function M.start(shared)
  dict = shared
end

local function score(peer, seed)
  local digest = sha256(peer.name .. seed)
  return byte(digest, 1) * 16777216 + byte(digest, 2) * 65536 + byte(digest, 3) * 256 + byte(digest, 4)
end

local function higher(a, b)
  return a.score > b.score
end

local function usable(peers)
  local list, drained = {}, 0
  for i = 1, #peers do
    local peer = peers[i]
    if dict:get(peer.drain) then
      drained = drained + 1
    elseif not dict:get(peer.down) then
      list[#list + 1] = peer
    end
  end
  -- All are said to be down: that can be our mistake, so they are asked.
  if #list == 0 and drained < #peers then
    for i = 1, #peers do
      if not dict:get(peers[i].drain) then list[#list + 1] = peers[i] end
    end
  end
  return list
end

-- The engines in the order in which they are to be tried; empty if all are drained. `prefix`: what decides, the tenant, the
-- model and the beginning of the conversation.
function M.order(peers, prefix)
  if not peers[2] then return dict:get(peers[1].drain) and {} or peers end
  local list = usable(peers)
  local count = #list
  if count < 2 then return list end
  local seed = sha256(prefix)
  local ranked, total = {}, 0
  for i = 1, count do
    local peer = list[i]
    local open = dict:get(peer.open) or 0
    total = total + open
    ranked[i] = { peer = peer, score = score(peer, seed), open = open }
  end
  sort(ranked, higher)
  local most = ceil(SLACK * (total + 1) / count)
  local order, n = {}, 0
  for i = 1, count do
    if ranked[i].open < most then
      n = n + 1
      order[n] = ranked[i].peer
    end
  end
  for i = 1, count do
    if ranked[i].open >= most then
      n = n + 1
      order[n] = ranked[i].peer
    end
  end
  return order
end

function M.begin(peer)
  dict:incr(peer.open, 1, 0, OPEN_LIVES)
end

function M.finish(peer)
  local left = dict:incr(peer.open, -1)
  if left and left < 0 then dict:incr(peer.open, -left) end
end

-- An engine has refused or broken a connection.
function M.failed(peer, why)
  if dict:incr(peer.failures, 1, 0, FAIL_SECONDS) >= FAILURES then dict:set(peer.down, why, DOWN_SECONDS) end
end

-- What asking an engine for its health has shown.
function M.probed(peer, is_healthy, seconds)
  if is_healthy then
    dict:delete(peer.down)
    dict:delete(peer.failures)
  elseif dict:incr(peer.failures, 1, 0, FAIL_SECONDS) >= FAILURES then
    dict:set(peer.down, 'does not answer /health', 3 * seconds + 1)
  end
end

function M.drain(peer)
  dict:set(peer.drain, true)
end

function M.undrain(peer)
  dict:delete(peer.drain)
end

-- drained, why it is down (or nil), how many requests it has.
function M.state(peer)
  return dict:get(peer.drain) == true, dict:get(peer.down), dict:get(peer.open) or 0
end

-- What the choice hangs on: tenant, model and the messages up to the first answer, cut after `most` bytes. That stays the
-- same as a conversation grows. `request`: model, given (the client's body), from, to (where its messages lie).
function M.prefix(tenant, request, most)
  local text, from, to = request.given, request.from or 1, request.to or #request.given
  local answer = find(text, '"assistant"', from, true)
  if answer and answer < to then to = answer end
  to = min(to, from + most - 1)
  -- The last message before that ends with its brace; what follows differs from turn to turn.
  for i = to, from, -1 do
    if byte(text, i) == 125 then -- }
      to = i
      break
    end
  end
  return tenant .. '\0' .. request.model.id .. '\0' .. sub(text, from, to)
end

return M
