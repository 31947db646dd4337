-- Whether and how a request gets to an engine: whose it is, what that key may do, what of the body may pass, when it is its
-- turn, and at which engine. What is refused before the body is read costs no memory.
local routes = require 'gateway.routes'
local reply = require 'gateway.reply'
local keys = require 'gateway.keys'
local limits = require 'gateway.limits'
local queue = require 'gateway.queue'
local balance = require 'gateway.balance'
local addresses = require 'gateway.addresses'
local body = require 'gateway.body'
local requests = require 'gateway.requests'
local ollama = require 'gateway.ollama'
local models = require 'gateway.models'
local relay = require 'gateway.relay'
local errors = require 'gateway.errors'
local usage = require 'gateway.usage'
local random_id = require('gateway.ffi').random_id
local stream = require 'gateway.stream'

local M = {}

-- A stream that waits longer hears from then on which place it has.
local SILENT = 1
-- An engine whose client has gone computes its current token to the end.
local GUARD_SECONDS = 1

local plan, index, rules
-- Who needs no key, because of his network.
local OPEN_KEY = { name = 'open', tenant = 'open' }

function M.start(the_plan)
  plan = the_plan
  rules = body.rules(plan)
  index = rules.index
end

local KEY_PROBLEMS = {
  missing = 'The API key is missing. Send it in the header: Authorization: Bearer YOUR_KEY.',
  two = 'The request has two keys, in Authorization and in x-api-key: send one.',
  wrong = 'The API key is wrong. Send it in the header: Authorization: Bearer YOUR_KEY.',
  expired = 'The API key has expired. Ask for a new one.',
}
local LIMIT_PROBLEMS = {
  requests_per_minute = 'This API key has made as many requests in this minute as it may: %d.',
  tokens_per_minute = 'This API key has used as many tokens in this minute as it may: %d.',
  tokens_per_day = 'This API key has used as many tokens today (UTC) as it may: %d.',
  concurrent = 'This API key has as many requests running as it may: %d.',
}

local function problem(status, code, message, param)
  return errors.problem(status, message, code, param)
end

-- The id that the client has given, or a new one. Nginx's own `$request_id`, which the variable has otherwise, costs more
-- than anything else that Nginx does with a request.
local function request_id(var)
  if not var.http_x_request_id then
    local id = random_id()
    if id then
      var.mistral_request_id = id
      return id
    end
  end
  return var.mistral_request_id
end

-- The request's key; nil and why there is none.
local function identify(var, now, is_open_port)
  if plan.mtls and var.ssl_client_verify == 'SUCCESS' then
    local key = keys.by_certificate(plan, var.ssl_client_s_dn, now)
    if key then return key end
  end
  local key, why = keys.find(plan, var.http_authorization, var.http_x_api_key, now)
  -- Ollama's clients send none or, being OpenAI's, any.
  if not key and is_open_port and plan.open_networks
    and addresses.contains(plan.open_networks, var.binary_remote_addr) then
    return plan.by_name.open or OPEN_KEY
  end
  return key, why
end

local function refuse_stranger(ctx, var, now, why)
  local retry = limits.is_flooding(var.remote_addr, now, plan.unauthorized_per_minute)
  if retry then
    return reply.refuse(ctx, problem(429, 'rate_limit_exceeded', 'Too many requests without a valid key from this address.'),
      retry)
  end
  -- Ollama's program takes every 401 for its maker's sign-in, and shows a 403's sentence.
  local status = ctx.shape == 'ollama' and 403 or 401
  return reply.refuse(ctx, problem(status, 'invalid_api_key', KEY_PROBLEMS[why]))
end

local function name_in_body()
  ngx.req.read_body()
  return ollama.name(ngx.req.get_body_data() or '')
end

-- A text, or nil if there is no such model.
local LOCAL = {
  models = function(allowed) return models.list(index, allowed) end,
  model = function(allowed, name) return models.one(index, name, allowed) end,
  tags = function(allowed) return models.tags(index, allowed) end,
  ps = function(allowed) return models.ps(index, allowed) end,
  show = function(allowed, name) return models.show(index, name, allowed) end,
  version = function() return models.version(plan) end,
  root = function() return 'Ollama is running' end,
}

local function answer_locally(ctx, key, name)
  local kind = ctx.route.kind
  local answer = LOCAL[kind]
  if not answer then return reply.refuse(ctx, ollama.refusal(kind)) end
  if kind == 'show' then name = name_in_body() end
  local text = answer(key and key.may_use, name)
  if not text then return reply.refuse(ctx, models.missing(index, name or '', key and key.may_use)) end
  return reply.send(ctx, text, kind == 'root' and 'text/plain' or nil)
end

-- The request's body, or nil.
local function read_body()
  local req = ngx.req
  req.read_body()
  local text = req.get_body_data()
  if text then return text end
  -- Only if Nginx may keep less of a body in memory than it accepts.
  local path = req.get_body_file()
  local file = path and io.open(path, 'rb')
  if not file then return nil end
  text = file:read '*a'
  file:close()
  return text
end

-- The body that the engine gets, and what it asks: {model, stream, from, to, …}; nil and the problem.
local function prepare(ctx, key, now)
  local encoding = ngx.var.http_content_encoding
  if encoding and encoding ~= 'identity' then return nil, problem(415) end
  local text = read_body()
  if not text then return nil, problem(400, 'invalid_json', 'The body is empty: send a JSON object.') end
  local out, request = requests.prepare(rules, ctx.shape, ctx.route.kind, text, key.may_use, now, ctx.id)
  if not out then return nil, request end
  request.given = text
  return out, request
end

-- Tells a waiting stream that it waits. False if nobody listens any more.
local function say_place(ctx, waiter)
  if not ctx.has_begun then
    ctx.has_begun = true
    ngx.header['Content-Type'] = 'text/event-stream'
  end
  return ngx.print(': queued, place ' .. queue.position(waiter) .. '\n\n') and ngx.flush(true)
end

-- Ends a stream that has begun already with an error.
local function end_stream(ctx, wrong)
  ctx.done, ctx.problem = true, wrong
  -- What is printed now is in the client's form already.
  ctx.filter = nil
  ngx.print(errors.event(ctx.shape, wrong, ctx.id) .. (ctx.shape == 'openai' and 'data: [DONE]\n\n' or ''))
  return ngx.exit(ngx.HTTP_OK)
end

-- Waits for a place at the engines. It returns only with one.
local function wait_for_place(ctx, key)
  local waiter = queue.join(key.name)
  if not waiter then
    return reply.refuse(ctx, problem(429, 'engine_busy', 'The model server is busy, and as many requests wait as may.'),
      queue.retry_after())
  end
  ctx.waiter = waiter
  local begun, timeout = ngx.now(), plan.queue.timeout
  -- What is translated has no comments.
  local can_speak = ctx.filter == stream.events
  local place = queue.wait(waiter, SILENT)
  while not place do
    ctx.queued = ngx.now() - begun
    if timeout and ctx.queued >= timeout then
      queue.abandon(waiter)
      ctx.waiter = nil
      local wrong = problem(503, 'engine_busy', 'The model server is busy: the request has waited ' .. timeout .. ' seconds.')
      if ctx.has_begun then return end_stream(ctx, wrong) end
      return reply.refuse(ctx, wrong, queue.retry_after())
    end
    if can_speak and not say_place(ctx, waiter) then return ngx.exit(499) end
    place = queue.wait(waiter, SILENT)
  end
  ctx.waiter, ctx.queued = nil, ngx.now() - begun
  return place
end

-- Gives the engine's answer to the client piece by piece.
local function pass_on(ctx, answer)
  while true do
    local data, why = relay.read(answer)
    if not data then
      ctx.is_cut = why ~= nil
      ctx.rest_seconds = why == 'timeout' and plan.queue.silence or 0
      return true
    end
    if not ctx.is_gone and not (ngx.print(data) and ngx.flush(true)) then ctx.is_gone = true end
    -- The engine stops with a stream when a piece of it cannot be delivered, and with nothing else.
    if ctx.is_gone and ctx.stream then
      ctx.rest_seconds = GUARD_SECONDS
      return false
    end
  end
end

-- Asks the engine itself and passes its answer on.
local function run_relay(ctx, text, path)
  if plan.queue.exclusive then
    -- With this handler a request outlives its client.
    ngx.on_abort(function() ctx.is_gone = true end)
  end
  local answer, why = relay.open(ctx, {
    path = path, id = ctx.id, body = text, timeout = plan.queue.silence and plan.queue.silence * 1000,
  })
  if not answer then
    if why == 'timeout' then ctx.rest_seconds = plan.queue.silence or 0 end
    local wrong = errors.problem(why == 'timeout' and 504 or 502)
    if ctx.has_begun then return end_stream(ctx, wrong) end
    return reply.refuse(ctx, wrong, reply.retry_for(wrong.status))
  end
  if answer.status ~= 200 and ctx.has_begun then
    local said = {}
    for _ = 1, 16 do
      local data = relay.read(answer)
      if not data then break end
      said[#said + 1] = data
    end
    relay.close(answer)
    return end_stream(ctx, (errors.of_engine(answer.status, table.concat(said))))
  end
  if not ctx.has_begun then
    ctx.has_begun = true
    ngx.status = answer.status
    ngx.header['Content-Type'] = answer.headers['content-type']
  end
  if pass_on(ctx, answer) then ngx.eof() end
  relay.close(answer)
  return ngx.exit(ngx.HTTP_OK)
end

local function choose_filter(ctx, request)
  if request.translator then
    ctx.filter, ctx.translator = stream.translated, request.translator
  elseif request.answer then
    ctx.filter, ctx.answer = stream.whole, request.answer
  elseif ctx.stream then
    ctx.filter = stream.events
  else
    ctx.filter = stream.json
  end
  local start = ctx.route.id
  if start then
    ctx.answer_id = start .. ctx.id
    ctx.id_start = '{"id":"' .. ctx.answer_id
    if ctx.stream then ctx.event_start = 'data: ' .. ctx.id_start end
  end
end

-- The access phase. `is_open_port`: Ollama's port, where some networks need no key.
function M.access(is_open_port)
  local var, now = ngx.var, ngx.time()
  local path = var.uri
  local route, name, is_missing = routes.find(path)
  if not route then
    local ctx = { shape = routes.shape_of(path), id = request_id(var) }
    ngx.ctx = ctx
    return reply.refuse(ctx, errors.problem(404))
  end
  -- All fields that a request gets, so that the table is made once.
  local ctx = {
    route = route, shape = route.shape, id = request_id(var), key = false, place = nil, waiter = nil, queue_place = nil,
    model = false, stream = false, order = nil, try = 0, peer = nil, filter = nil, first = nil, queued = nil, placed = nil,
    tokens_in = 0, tokens_out = 0, events = 0, is_exact = false, done = false, has_begun = false, bytes = 0,
  }
  ngx.ctx = ctx
  local method = ngx.req.get_method()
  if method ~= route.method and not (method == 'HEAD' and route.method == 'GET') then
    if method == 'OPTIONS' and reply.preflight(routes.methods(route)) then
      ctx.is_own = true
      return ngx.exit(204)
    end
    ngx.header['Allow'] = routes.methods(route)
    return reply.refuse(ctx, errors.problem(405))
  end

  local key, why
  if not route.needs_no_key then
    key, why = identify(var, now, is_open_port)
    if not key then return refuse_stranger(ctx, var, now, why) end
    if key.networks and not keys.is_allowed_from(key, var.binary_remote_addr) then
      return reply.refuse(ctx, problem(403, 'address_not_allowed', 'This API key may not be used from this address.'))
    end
    ctx.key = key
  end
  if is_missing then
    return reply.refuse(ctx, problem(404, 'unknown_url', 'This endpoint is switched off here, or the model server ('
      .. plan.line .. ') does not have it.'))
  end
  if route.is_local then return answer_locally(ctx, key, name) end

  local ok, place, retry = limits.enter(key, now)
  if not ok then
    return reply.refuse(ctx, problem(429, 'rate_limit_exceeded', LIMIT_PROBLEMS[place]:format(key[place])), retry)
  end
  ctx.place = place

  local text, request = prepare(ctx, key, now)
  if not text then return reply.refuse(ctx, request) end
  if request.answer_now then
    return reply.send(ctx, request.answer_now, request.is_stream and 'application/x-ndjson' or nil)
  end
  local model = request.model
  ctx.model, ctx.stream, ctx.bytes = model.id, request.stream, #text
  choose_filter(ctx, request)

  if plan.queue then
    ctx.queue_place = queue.try() or wait_for_place(ctx, key)
  end
  ctx.placed = ngx.now()
  local prefix = model.peers[2] and balance.prefix(key.tenant, request, plan.affinity_bytes)
  ctx.order = balance.order(model.peers, prefix)
  if #ctx.order == 0 then
    local drained = problem(503, 'engine_unavailable', 'The model server is being taken out of service.')
    if ctx.has_begun then return end_stream(ctx, drained) end
    return reply.refuse(ctx, drained, reply.retry_for(503))
  end
  if ctx.stream then ctx.open_name = usage.open_name(key, model.id, ctx.id) end

  if ctx.has_begun or (plan.queue and plan.queue.exclusive) then
    return run_relay(ctx, text, request.path or path)
  end
  if request.path then ngx.req.set_uri(request.path) end
  if text ~= request.given then ngx.req.set_body_data(text) end
end

return M
