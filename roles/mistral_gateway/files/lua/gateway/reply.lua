-- What the gateway answers by itself, and the headers of every answer.
local errors = require 'gateway.errors'
local routes = require 'gateway.routes'

local M = {}

local plan, origins

-- Seconds until an engine that is being started or loaded is worth another try.
local ENGINE_RETRY = 5

function M.start(the_plan)
  plan, origins = the_plan, nil
  if plan.cors and #plan.cors > 0 then
    origins = {}
    for _, origin in ipairs(plan.cors) do origins[origin] = true end
  end
end

-- What Nginx itself has refused, as an error of the gateway.
local function nginx_problem(status, text)
  if status ~= 400 then return errors.problem(status) end
  if text:find('plain HTTP request', 1, true) then
    return errors.problem(400, 'This port speaks HTTPS only: use https:// in the address.', 'bad_request')
  end
  return errors.problem(400, 'The request is not valid HTTP, or its headers are too large.', 'bad_request')
end

function M.retry_for(status)
  return (status == 502 or status == 503) and ENGINE_RETRY or nil
end

-- Lets a browser's script of an allowed origin read the answer.
function M.allow_origin(header)
  if not origins then return end
  local origin = ngx.var.http_origin
  header['Vary'] = 'Origin'
  if origin and (origins[origin] or origins['*']) then
    header['Access-Control-Allow-Origin'] = origin
    header['Access-Control-Expose-Headers'] = 'X-Request-Id, Retry-After'
  end
end

-- A browser asks before it sends a request; true if that was it.
function M.preflight(methods)
  local origin = origins and ngx.var.http_origin
  if not origin or not (origins[origin] or origins['*']) then return false end
  if not ngx.var.http_access_control_request_method then return false end
  local header = ngx.header
  header['Access-Control-Allow-Methods'] = methods
  header['Access-Control-Allow-Headers'] = ngx.var.http_access_control_request_headers or 'Authorization, Content-Type'
  header['Access-Control-Max-Age'] = 600
  ngx.status = 204
  return true
end

-- Answers with a text of the gateway's own.
function M.send(ctx, text, content_type)
  ctx.is_own, ctx.filter = true, nil
  local header = ngx.header
  header['Content-Type'] = content_type or 'application/json; charset=utf-8'
  header['Content-Length'] = #text
  ngx.print(text)
  return ngx.exit(ngx.HTTP_OK)
end

-- Refuses a request. retry: in how many seconds the same request would be taken.
function M.refuse(ctx, problem, retry)
  ctx.is_own, ctx.filter = true, nil
  local status, header = problem.status, ngx.header
  local text = errors.body(ctx.shape, problem, ctx.id)
  -- Nginx would ask for the body before the refusal.
  if ngx.var.http_expect then ngx.req.clear_header 'Expect' end
  ngx.status = status
  header['Content-Type'] = 'application/json; charset=utf-8'
  header['Content-Length'] = #text
  if status == 401 then header['WWW-Authenticate'] = 'Bearer' end
  -- Where Anthropic's clients look for it.
  if ctx.shape == 'anthropic' then header['request-id'] = ctx.id end
  if retry then header['Retry-After'] = retry end
  ngx.print(text)
  return ngx.exit(status)
end

-- The text of an error that comes from the engine, or from Nginx itself.
function M.error_text(ctx, text)
  local shape = ctx.shape or routes.shape_of(ngx.var.uri or '')
  local status = ctx.error_status
  local problem
  -- No engine answers in HTML: this is Nginx's own page.
  if text == '' or text:sub(1, 6) == '<html>' then
    problem = nginx_problem(status, text)
  else
    problem, ctx.trace = errors.of_engine(status, text)
    ctx.problem = problem
  end
  return errors.body(shape, problem, ctx.id)
end

return M
