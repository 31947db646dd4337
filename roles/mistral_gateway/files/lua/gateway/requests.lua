-- A client's request in the form that the engine gets, whatever the client's API.
--
--   out, request = requests.prepare(rules, shape, kind, text, allowed, now, id)
--   nil, problem
--
-- shape: openai, ollama, anthropic. kind: for ollama its call, else the path below /v1/. rules: of body.rules. allowed: as in
-- body.prepare. now: seconds since 1970. id: the request's. request: as body.prepare, ollama.prepare and anthropic.prepare
-- make it; with `path`, `translator` or `answer` where the engine is asked through another API than the client has.
local body = require 'gateway.body'
local ollama = require 'gateway.ollama'
local anthropic = require 'gateway.anthropic'

local requests = {}

function requests.prepare(rules, shape, kind, text, allowed, now, id)
  if shape == 'ollama' then return ollama.prepare(rules, kind, text, allowed, now, id) end
  if shape == 'anthropic' and not rules.features.messages then
    return anthropic.prepare(rules, kind, text, allowed, now, id)
  end
  return body.prepare(rules, kind, text, allowed)
end

return requests
