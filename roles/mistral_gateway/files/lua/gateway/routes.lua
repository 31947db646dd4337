-- What the gateway has: an address that is not here does not exist. Each route: the shape of its answers and errors, the
-- kind of the request, its method, the path at the engine, the name under which the plan allows it.
local M = {}

local function openai(kind, method, id)
  return { shape = 'openai', kind = kind, method = method, needs = kind, id = id }
end

-- id: what the ids of answers begin with, where the engine's are not unique.
local V1 = {
  ['/v1/chat/completions'] = openai('chat/completions', 'POST', 'chatcmpl-'),
  ['/v1/completions'] = openai('completions', 'POST', 'cmpl-'),
  ['/v1/embeddings'] = openai('embeddings', 'POST'),
  ['/v1/responses'] = openai('responses', 'POST'),
  ['/v1/images/generations'] = openai('images/generations', 'POST'),
  ['/v1/audio/speech'] = openai('audio/speech', 'POST'),
  ['/v1/rerank'] = openai('rerank', 'POST'),
  ['/v1/messages'] = { shape = 'anthropic', kind = 'messages', method = 'POST', needs = 'messages', id = 'msg_' },
  ['/v1/messages/count_tokens'] = { shape = 'anthropic', kind = 'messages/count_tokens', method = 'POST', needs = 'messages' },
  ['/v1/models'] = { shape = 'openai', kind = 'models', method = 'GET', is_local = true },
}
local MODEL = { shape = 'openai', kind = 'model', method = 'GET', is_local = true, path = '/v1/models/' }

local function ollama(kind, method, is_local, needs_no_key)
  return { shape = 'ollama', kind = kind, method = method, is_local = is_local, needs_no_key = needs_no_key }
end

local OLLAMA = {
  ['/api/chat'] = ollama('chat', 'POST'),
  ['/api/generate'] = ollama('generate', 'POST'),
  ['/api/embed'] = ollama('embed', 'POST'),
  ['/api/embeddings'] = ollama('embeddings', 'POST'),
  ['/api/tags'] = ollama('tags', 'GET', true),
  ['/api/ps'] = ollama('ps', 'GET', true),
  ['/api/show'] = ollama('show', 'POST', true),
  ['/api/version'] = ollama('version', 'GET', true, true),
  ['/'] = ollama('root', 'GET', true, true),
}
for _, name in ipairs { 'pull', 'push', 'create', 'copy' } do OLLAMA['/api/' .. name] = ollama(name, 'POST', true) end
OLLAMA['/api/delete'] = ollama('delete', 'DELETE', true)

for path, route in pairs(V1) do route.path = path end
for path, route in pairs(OLLAMA) do route.path = path end

local allowed, with_ollama

-- `paths`: what the plan allows, "chat/completions" and so on; "ollama" for all of Ollama's.
function M.start(paths)
  allowed = {}
  for _, path in ipairs(paths) do allowed[path] = true end
  with_ollama = allowed.ollama
end

-- The route of an address, and what follows it (the name of a model); nil if there is none.
-- The third value: the engine's line or the configuration lacks it.
function M.find(path)
  local route = V1[path]
  if route then return route, nil, route.needs ~= nil and not allowed[route.needs] end
  if with_ollama then
    route = OLLAMA[path]
    if route then return route end
  end
  if path:sub(1, 11) == '/v1/models/' and #path > 11 then return MODEL, path:sub(12) end
  return nil
end

-- In whose form an error is told at an address that is none.
function M.shape_of(path)
  if path:sub(1, 5) == '/api/' then return 'ollama' end
  if path:sub(1, 12) == '/v1/messages' then return 'anthropic' end
  return 'openai'
end

function M.methods(route)
  return route.method == 'GET' and 'GET, HEAD' or route.method
end

return M
