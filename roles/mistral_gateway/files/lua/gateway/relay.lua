-- Hands a request to an engine by itself, instead of Nginx's proxy: for streams that wait (a proxy cannot speak before the
-- engine does), and for engines that go on when their client has left. What it prints goes through the same filters.
local balance = require 'gateway.balance'
local sub, lower, match, tonumber = string.sub, string.lower, string.match, tonumber

local M = {}

local CONNECT, SEND, READ = 5000, 60000, 600000
local MOST_HEADERS = 100

-- The head of an answer: status and headers by their names in small letters; nil and why.
local function read_head(socket)
  local line, why = socket:receive '*l'
  if not line then return nil, why end
  local status = tonumber(match(line, '^HTTP/1%.%d (%d%d%d)'))
  if not status then return nil, 'not HTTP' end
  local headers = {}
  for _ = 1, MOST_HEADERS do
    line, why = socket:receive '*l'
    if not line then return nil, why end
    if line == '' then return status, headers end
    local name, value = match(line, '^([^:]+):%s*(.-)%s*$')
    if name then headers[lower(name)] = value end
  end
  return nil, 'too many headers'
end

local function ask(peer, request)
  local socket = ngx.socket.tcp()
  socket:settimeouts(CONNECT, SEND, request.timeout or READ)
  local ok, why = socket:connect(peer.host, peer.port)
  if not ok then return nil, why end
  ok, why = socket:send {
    'POST ', request.path, ' HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Request-Id: ', request.id,
    '\r\nContent-Length: ', #request.body, '\r\n\r\n', request.body,
  }
  if not ok then return nil, why end
  local status, headers = read_head(socket)
  if not status then
    socket:close()
    return nil, headers
  end
  return { socket = socket, status = status, headers = headers, peer = peer }
end

-- Sends the request {path, id, body, timeout} to the first of the engines that answers: {status, headers, peer, socket}, or
-- nil and why. `ctx.peer` is the engine that has it now, also while it is being asked.
function M.open(ctx, request)
  local why = 'no engine'
  for _, peer in ipairs(ctx.order) do
    ctx.peer = peer
    balance.begin(peer)
    local answer
    answer, why = ask(peer, request)
    if answer then return answer end
    balance.finish(peer)
    ctx.peer = nil
    balance.failed(peer, why)
    -- An engine that is silent is computing: another one is not asked the same.
    if why == 'timeout' then break end
  end
  return nil, why
end

local function chunk(socket)
  local line, why = socket:receive '*l'
  if not line then return nil, why end
  local size = tonumber(match(line, '^%x+') or '', 16)
  if not size then return nil, 'broken chunk' end
  if size == 0 then
    socket:receive '*l'
    return nil
  end
  local data
  data, why = socket:receive(size + 2)
  if not data then return nil, why end
  return sub(data, 1, size)
end

-- The next piece of the answer's body; nil at its end, nil and why if it is cut.
function M.read(answer)
  local socket, headers = answer.socket, answer.headers
  if lower(headers['transfer-encoding'] or '') == 'chunked' then return chunk(socket) end
  local left = answer.left or tonumber(headers['content-length'])
  if left == 0 then return nil end
  local data, why = socket:receiveany(left and left < 65536 and left or 65536)
  if not data then
    if why == 'closed' and not left then return nil end
    return nil, why
  end
  answer.left = left and left - #data
  return data
end

function M.close(answer)
  answer.socket:close()
end

return M
