-- The recorded exchanges with the real servers, for the specs: tests/recordings.
local json = require 'gateway.json'

local M = {}

local ROOT = 'tests/recordings/'

-- name: {method, path, body (text as sent, nil where only its size is recorded), status, answer, events (list of texts)}
function M.all(folder)
  local found = {}
  local listing = assert(io.popen('ls ' .. ROOT .. "'" .. folder .. "'/http"))
  for file in listing:lines() do
    local text = assert(io.open(ROOT .. folder .. '/http/' .. file)):read '*a'
    local recording = assert(json.decode(text))
    local request, response = recording.request, recording.response
    local sent = request.body
    if type(sent) == 'table' then
      local fields = json.object(text).at
      local span = json.object(text, fields.request.from, fields.request.to).at.body
      sent = not (sent.bytes or sent.latin1) and text:sub(span.from, span.to) or nil
    end
    local events
    if type(response.events) == 'table' then
      events = {}
      for k, event in ipairs(response.events) do events[k] = event[2] end
    end
    found[file:match '^(.*)%.json$'] = {
      method = request.method, path = request.path, body = type(sent) == 'string' and sent or nil, status = response.status,
      answer = response.body, events = events and #events > 0 and events or nil,
    }
  end
  listing:close()
  return found
end

return M
