-- What Nginx calls: one function for each of its phases.
local ffi = require 'gateway.ffi'
local plan_file = require 'gateway.plan'
local routes = require 'gateway.routes'
local reply = require 'gateway.reply'
local limits = require 'gateway.limits'
local queue = require 'gateway.queue'
local usage = require 'gateway.usage'
local metrics = require 'gateway.metrics'
local balance = require 'gateway.balance'
local state = require 'gateway.state'
local access = require 'gateway.access'
local stream = require 'gateway.stream'
local health = require 'gateway.health'
local admin = require 'gateway.admin'
local json = require 'gateway.json'
local balancer = require 'ngx.balancer'
local semaphore = require 'ngx.semaphore'
local format, sub, max, min, ceil, floor = string.format, string.sub, math.max, math.min, math.ceil, math.floor

local M = {}

-- How often counts are written, and how often dead processes are looked for, in seconds.
local SAVE, SWEEP = 5, 10
-- A prompt whose tokens the engine did not tell has about one for each of so many bytes.
local BYTES_PER_TOKEN = 4
local MOST_TRIES = 3
-- Bytes of a stack trace in the error log.
local MOST_TRACE = 2000

local plan
local shared = ngx.shared

-- Start of Nginx, and each reload. An error here ends the start, or keeps the old configuration.
function M.init(path)
  plan = plan_file.load(path)
  routes.start(plan.paths)
  reply.start(plan)
  access.start(plan)
  metrics.start(plan.by_name)
  balance.start(shared.mistral_engines)
  admin.start(plan)
  limits.start(shared.mistral_limits, shared.mistral_strangers, 0)
  usage.start(shared.mistral_usage, 0)
  -- A reload finds what there is; after a restart it is read. Nobody counts anything yet.
  if plan.state_path and shared.mistral_usage:add('loaded', true) then state.load(plan.state_path, ngx.time()) end
end

local function save()
  local ok, why = state.save(plan.state_path, ngx.time())
  if not ok then ngx.log(ngx.ERR, 'the counts are not saved: ', why) end
end

-- Gives back and books what killed processes had. `own`: a new process, whose number a dead one may have had before it.
local function sweep(own)
  limits.sweep(own)
  if plan.queue and not own then queue.sweep() end
  for _, lost in ipairs(usage.sweep(ngx.time(), own)) do
    ngx.log(ngx.ERR, 'the process of request ', lost.id, ' was killed: key ', lost.key, ', model ', lost.model, ', ',
      lost.tokens, ' tokens of the answer')
  end
end

-- Once a second in each process. What one process does for all is done by the first that comes.
local function tick(premature)
  if premature then return end
  metrics.flush(shared.mistral_metrics)
  if plan.state_path and shared.mistral_engines:add('save', true, SAVE - 0.5) then save() end
  if shared.mistral_engines:add('sweep', true, SWEEP - 0.5) then sweep() end
  if shared.mistral_engines:add('health', true, plan.health_seconds - 0.5) then health.probe(plan) end
end

function M.init_worker()
  local pid = ffi.pid()
  limits.start(shared.mistral_limits, shared.mistral_strangers, pid)
  usage.start(shared.mistral_usage, pid)
  sweep(pid)
  if plan.queue then
    queue.start(shared.mistral_queue, shared.mistral_waiting, pid, semaphore.new, plan.queue)
  end
  ngx.timer.at(0, tick)
  ngx.timer.every(1, tick)
end

function M.exit_worker()
  metrics.flush(shared.mistral_metrics)
  if plan.state_path then save() end
end

M.access = access.access

-- Chooses the engine, again after one that has refused.
function M.balancer()
  local ctx = ngx.ctx
  local order, try = ctx.order, ctx.try + 1
  if try == 1 then
    if #order > 1 then balancer.set_more_tries(min(#order, MOST_TRIES) - 1) end
  else
    local last = ctx.peer
    balance.finish(last)
    balance.failed(last, balancer.get_last_failure())
  end
  -- Nginx tries once more by itself where a connection that was kept open had been closed meanwhile.
  local peer = order[(try - 1) % #order + 1]
  ctx.try, ctx.peer = try, peer
  balance.begin(peer)
  local ok, why = balancer.set_current_peer(peer.host, peer.port)
  if not ok then error(why) end
end

local function error_text(ctx, text)
  return reply.error_text(ctx, text)
end

local function translated_answer(ctx, text)
  return ctx.answer(text)
end

function M.header_filter()
  local ctx, header = ngx.ctx, ngx.header
  reply.allow_origin(header)
  if ctx.is_own then return end
  local status = ngx.status
  if status >= 400 then
    ctx.filter, ctx.finish, ctx.is_error, ctx.error_status = stream.whole, error_text, true, status
    -- What the engine cannot read in a request is the client's fault.
    if status == 422 then ngx.status = 400 end
    header['Content-Type'] = 'application/json; charset=utf-8'
    header['Content-Length'] = nil
    local retry = reply.retry_for(status)
    if retry then header['Retry-After'] = retry end
    return
  end
  local filter = ctx.filter
  if not filter then return end
  if filter == stream.json then
    local growth = stream.growth(ctx)
    local length = growth > 0 and header['Content-Length']
    if length then header['Content-Length'] = tonumber(length) + growth end
    if ctx.shape == 'anthropic' then header['request-id'] = ctx.id end
    return
  end
  if filter == stream.whole then
    ctx.finish = translated_answer
    header['Content-Type'] = 'application/json; charset=utf-8'
  elseif filter == stream.translated then
    header['Content-Type'] = ctx.translator.content_type
  end
  -- The ids and the form change, and with them the length.
  header['Content-Length'] = nil
  if ctx.shape == 'anthropic' then header['request-id'] = ctx.id end
end

function M.body_filter()
  local ctx = ngx.ctx
  local filter = ctx.filter
  if not filter then return end
  local arg = ngx.arg
  local data, ended = arg[1], arg[2]
  local has_died = false
  if data == '' and not ended then
    -- An engine that has broken off: Nginx sends what it has left, and says nothing of an end. The time of an engine that
    -- still answers is a dash, behind those of the engines that were tried before it.
    has_died = not ctx.done and not ctx.is_error and sub(ngx.var.upstream_response_time or '-', -1) ~= '-'
    if not has_died then return end
  elseif not ctx.first and ctx.placed then
    ctx.first = ngx.now()
  end
  local events = ctx.events
  local changed = filter(ctx, data, ended or has_died)
  local open_name = ctx.open_name
  if open_name and ctx.events > events then usage.progress(open_name, ctx.events - events) end
  if changed then arg[1] = changed end
  if has_died then arg[2] = true end
end

-- How the request ended, for the log.
local function ending(ctx, status)
  if ctx.died then return 'engine died' end
  if ctx.problem then return 'engine error' end
  if status == 499 or (ctx.placed and not ctx.done and status < 400) then return 'client left' end
  if status >= 400 then return 'refused' end
  return 'complete'
end

-- Books the tokens of a request that an engine had; returns in, out and the estimate of in.
local function book(ctx, key, status, now)
  local tokens_in, tokens_out, estimated = ctx.tokens_in, ctx.tokens_out, 0
  if status >= 400 and not (status == 499 and ctx.placed) then return 0, 0, 0 end
  if not ctx.is_exact then
    tokens_out = max(tokens_out, ctx.events)
    -- What the engine has refused at once, it has not read.
    local is_refused = ctx.problem and ctx.events == 0
    if tokens_in == 0 and not is_refused then estimated = ceil(ctx.bytes / BYTES_PER_TOKEN) end
  end
  usage.record(key, ctx.model, tokens_in, tokens_out, estimated, now)
  limits.spend(key, tokens_in + tokens_out + estimated, now)
  return tokens_in, tokens_out, estimated
end

local function give_back(ctx, now)
  if ctx.waiter then queue.abandon(ctx.waiter) end
  if ctx.queue_place then queue.leave(ctx.queue_place, now - ctx.placed, ctx.rest_seconds) end
  if ctx.peer then balance.finish(ctx.peer) end
  if ctx.place then limits.leave(ctx.key, ctx.place) end
  if ctx.open_name then usage.close(ctx.open_name) end
end

-- Whole seconds and thousandths of a second of a time, which is a multiple of these: `%.3f` takes ten times as long.
local function thousandths(seconds)
  local count = seconds and max(0, floor(seconds * 1000 + 0.5)) or 0
  return floor(count / 1000), count % 1000
end

function M.log()
  local ctx, var = ngx.ctx, ngx.var
  local now, status = ngx.now(), ngx.status
  local route, key, model = ctx.route, ctx.key, ctx.model
  if not key then
    metrics.count('', '', status, 0, 0)
    var.mistral_log = format(',"key":"","tenant":"","model":"","path":%s', json.quote((route and route.path) or var.uri or ''))
    return
  end
  if ctx.trace then
    -- The client gets the first line only.
    ngx.log(ngx.WARN, 'request ', ctx.id, ': the engine said further: ', sub(ctx.trace, 1, MOST_TRACE))
  end
  local tokens_in, tokens_out, estimated = 0, 0, 0
  if ctx.placed then tokens_in, tokens_out, estimated = book(ctx, key, status, ngx.time()) end
  give_back(ctx, now)
  local begun = ngx.req.start_time()
  local first = ctx.first and ctx.first - begun
  metrics.count(key.name, model or '', status, tokens_in + estimated, tokens_out, first, now - begun, ctx.queued)
  local first_s, first_ms = thousandths(first)
  local queued_s, queued_ms = thousandths(ctx.queued)
  var.mistral_log = format(',"key":"%s","tenant":"%s","model":"%s","path":"%s","stream":%s,"tokens_in":%d,"tokens_out":%d,'
    .. '"tokens_in_estimated":%d,"first_byte":%d.%03d,"queued":%d.%03d,"end":"%s"', key.name, key.tenant, model or '',
    route.path, ctx.stream and 'true' or 'false', tokens_in, tokens_out, estimated, first_s, first_ms, queued_s, queued_ms,
    ending(ctx, status))
end

M.metrics, M.admin = admin.metrics, admin.serve

function M.health()
  health.serve(plan)
end

return M
