-- What went wrong, in the form of the client's API. Pure: says nothing to Nginx.
--
--   problem = errors.problem(status, message, code, param)      code nil: what is usual for the status
--   text    = errors.body(shape, problem, id)                   the whole answer, JSON and a line feed; id: the request's
--   problem, rest = errors.of_engine(status, text)              the engine's answer of that status; rest: for the log only
--   text    = errors.stream(shape, text, ctx)                   the engine's error in a stream, as an event of the client's API
--   text    = errors.event(shape, problem, id)                  the same for a problem of the gateway's own
--   text    = errors.cut(shape, ctx)                            ends a stream that the engine has left
--   first, rest = errors.first_line(text)
--
-- problem: {status, message, code, param, type (or nil), retry_after (or nil)}.
-- shape: openai, ollama, anthropic. ctx: the request; its `id` is told, `problem` and `trace` are left there for the log.
-- The engine's words end with the first line: what follows is a stack trace. They are bounded, since they can quote a picture.
local json = require 'gateway.json'

local find, sub, match, gsub, byte = string.find, string.sub, string.match, string.gsub, string.byte

local errors = {}

local MOST = 1000

errors.DIED = 'The model server stopped in the middle of the answer.'
errors.UNAVAILABLE = 'The model server does not answer: it is starting, loading a model, or stopped. Try again shortly.'

-- code and message by status, where nothing better is known.
local USUAL = {
  [400] = {'invalid_request', 'The request is not right.'},
  [401] = {'invalid_api_key', 'The API key is missing or wrong. Send it in the header: Authorization: Bearer YOUR_KEY.'},
  [403] = {'forbidden', 'This is not allowed here.'},
  [404] = {'unknown_url', 'There is nothing at this address.'},
  [405] = {'method_not_allowed', 'This address does not accept this HTTP method.'},
  [408] = {'request_timeout', 'The request did not arrive in time.'},
  [411] = {'length_required', 'The request has a body without a length.'},
  [413] = {'request_too_large', 'The request is larger than this endpoint accepts.'},
  [414] = {'request_too_large', 'The address of the request is too long.'},
  [415] = {'unsupported_media_type', 'Send JSON as it is, without compression: Content-Type: application/json.'},
  [421] = {'unknown_host', 'This endpoint has other names than the one that the request asks for.'},
  [429] = {'rate_limit_exceeded', 'This API key has asked too often. Wait a little and try again.'},
  [500] = {'internal_error', 'The gateway could not handle the request; its error log says why.'},
  [501] = {'not_implemented', 'The request uses a part of HTTP that this endpoint does not know.'},
  [502] = {'engine_unavailable', errors.UNAVAILABLE},
  [503] = {'engine_loading', 'The model server is not ready yet. Try again shortly.'},
  [504] = {'engine_timeout', 'The model server took too long to answer.'},
  [505] = {'bad_request', 'The request uses a version of HTTP that this endpoint does not know.'},
}

function errors.problem(status, message, code, param)
  local usual = USUAL[status] or USUAL[status < 500 and 400 or 500]
  return {status = status, message = message or usual[2], code = code or usual[1], param = param}
end

-- Whether a text is UTF-8 (overlong forms and halves of surrogate pairs are not looked for).
local function is_utf8(text)
  local i, n = 1, #text
  while i <= n do
    local c = byte(text, i)
    local more = c < 0x80 and 0 or c >= 0xF0 and c < 0xF5 and 3 or c >= 0xE0 and c < 0xF0 and 2 or c >= 0xC2 and c < 0xE0 and 1
    if not more then return false end
    for k = i + 1, i + more do
      local follows = byte(text, k)
      if not follows or follows < 0x80 or follows > 0xBF then return false end
    end
    i = i + more + 1
  end
  return true
end

-- What a client has sent can be quoted, and what is no UTF-8 is no JSON for it.
local function quote(text)
  if find(text, '[\128-\255]') and not is_utf8(text) then text = gsub(text, '[\128-\255]', '?') end
  return json.quote(text)
end

local function openai_type(problem)
  local status = problem.status
  if problem.type then return problem.type end
  if status == 429 then return 'rate_limit_error' end
  if status < 500 or status == 501 or status == 505 then return 'invalid_request_error' end
  return 'server_error'
end

local ANTHROPIC = {
  [401] = 'authentication_error', [403] = 'permission_error', [404] = 'not_found_error', [413] = 'request_too_large',
  [429] = 'rate_limit_error', [502] = 'overloaded_error', [503] = 'overloaded_error', [504] = 'timeout_error',
  [529] = 'overloaded_error',
}

local function anthropic_type(problem)
  local status = problem.status
  return ANTHROPIC[status] or ((status < 500 or status == 501 or status == 505) and 'invalid_request_error' or 'api_error')
end

local function or_null(text)
  return text and quote(text) or 'null'
end

-- The object without a line feed.
local function object(shape, problem, id)
  local request = id and ',"request_id":' .. quote(id) or ''
  if shape == 'ollama' then return '{"error":' .. quote(problem.message) .. request .. '}' end
  if shape == 'anthropic' then
    return '{"type":"error","error":{"type":"' .. anthropic_type(problem) .. '","message":' .. quote(problem.message) .. '}'
      .. request .. '}'
  end
  return '{"error":{"message":' .. quote(problem.message) .. ',"type":' .. quote(openai_type(problem)) .. ',"param":'
    .. or_null(problem.param) .. ',"code":' .. or_null(problem.code) .. '}' .. request .. '}'
end

function errors.body(shape, problem, id)
  return object(shape, problem, id) .. '\n'
end

-- Cuts within a character are repaired: the bytes of the last one go if they are not all there.
local function bounded(text)
  if #text <= MOST then return text end
  text = sub(text, 1, MOST)
  return gsub(text, '[\192-\255][\128-\191]*$', '') .. '…'
end

function errors.first_line(text)
  local line, rest = match(text, '^%s*([^\r\n]*)(.*)$')
  line = gsub(line, '%s+$', '')
  -- A picture that could not be read is quoted as a whole.
  line = gsub(line, '(data:[%w/+.-]*;base64,)[%w+/=]+', '%1…')
  return bounded(line), find(rest, '%S') and rest or nil
end

-- Sentences of the engine that blame the request although its status does not, or that have a code of their own.
local KNOWN = {
  {'^Requested model .* is not available', 404, 'model_not_found', 'model'},
  {'^Prompt sequence length is greater than', 400, 'context_length_exceeded', 'messages'},
  {'^ModelNotFound', 503, 'engine_loading'},
  {'^No content was provided', 400, 'invalid_value', 'messages'},
  {'^max_tokens must be at least', 400, 'invalid_value', 'max_tokens'},
  {'^Number of choices must be', 400, 'invalid_value', 'n'},
  {'^Invalid grammar', 400, 'invalid_value', 'response_format'},
  {'^Received a request incompatible for this model', 400, 'unsupported_by_model', 'model'},
  {'^invalid operation:', 400, 'chat_template_refused', 'messages'},
  {'^Role for an image message', 400, 'invalid_value', 'messages'},
  {'^Expected array content', 400, 'invalid_value', 'messages'},
  {'sub%-content', 400, 'invalid_value', 'messages'},
  {'^Failed to parse %a+ resource', 400, 'invalid_image', 'messages'},
  {'^tool_choice', 400, 'invalid_value', 'tool_choice'},
  {'^tools%[%]', 400, 'invalid_value', 'tools'},
  {'^Request `grammar` and `response_format`', 400, 'invalid_value', 'grammar'},
  {'length limit exceeded', 413, 'request_too_large'},
  {'^request body too large', 413, 'request_too_large'},
  {'^Tool choice was required but no tools were called', 500, 'tool_not_called', 'tool_choice'},
}

-- What the engine says of a body that it cannot read: "Failed to … type: FIELD: what is wrong at line 1 column 9".
local function of_body(message)
  local what = match(message, '^Failed to deserialize the JSON body into the target type: (.*)$')
    or match(message, '^Failed to parse the request body as JSON: (.*)$')
  if not what then return message end
  local param = match(what, '^([%a_][%w_]*)[%[%].%w_]*: ')
  return message, param
end

local function known(status, message)
  for k = 1, #KNOWN do
    local entry = KNOWN[k]
    if find(message, entry[1]) then return entry[2], entry[3], entry[4] end
  end
  local _, param = of_body(message)
  -- OpenAI's clients know no 422 for what they have sent: that is a 400.
  if status == 422 then status = 400 end
  return status, status < 500 and 'engine_refused' or 'engine_error', param
end

local ERROR = json.known {'error', 'message', 'type', 'code', 'param', 'detail', 'response'}

local function string_at(text, field)
  return field and field.kind == 'string' and json.string(text, field.from, field.to) or nil
end

-- message, type, code, param of an error in JSON: {"message"}, {"error": {...}}, {"error": "text"}, {"type": "error", ...},
-- {"response": {"error": {...}}}.
local function read(text, from, to, depth)
  local fields = json.members(text, from, to, ERROR)
  if not fields then return nil end
  local at = fields.at
  local inner = at.error or at.response
  if inner and inner.kind == 'object' and depth < 3 then return read(text, inner.from, inner.to, depth + 1) end
  return string_at(text, at.message) or string_at(text, at.error) or string_at(text, at.detail), string_at(text, at.type),
    string_at(text, at.code), string_at(text, at.param)
end

function errors.of_engine(status, text)
  local message, kind, code, param
  local from, to = json.span(text)
  if sub(text, from, from) == '{' and json.check(text) then message, kind, code, param = read(text, from, to, 0) end
  local first, rest = errors.first_line(message or text)
  if first == '' then
    local problem = errors.problem(status)
    if status == 404 then problem.code = 'not_served' end
    return problem, rest
  end
  local known_status, known_code, known_param = known(status, first)
  local problem = errors.problem(known_status, first, code or known_code, param or known_param)
  -- The engine's own words for the kind are kept where they say more than that the server failed.
  if kind and kind ~= 'server_error' and kind ~= 'error' and not find(kind, '^response%.') then problem.type = kind end
  return problem, rest
end

function errors.event(shape, problem, id)
  local text = object(shape, problem, id)
  if shape == 'ollama' then return text .. '\n' end
  if shape == 'anthropic' then return 'event: error\ndata: ' .. text .. '\n\n' end
  return 'data: ' .. text .. '\n\n'
end

-- An error in a stream of /v1/responses.
local function responses_event(problem)
  return 'event: error\ndata: {"type":"error","code":' .. or_null(problem.code) .. ',"message":' .. quote(problem.message)
    .. ',"param":' .. or_null(problem.param) .. ',"sequence_number":0}\n\n'
end

function errors.stream(shape, text, ctx)
  -- In plain text each further line is data of its own.
  local plain = gsub(text, '\ndata: ?', '\n')
  local problem, rest = errors.of_engine(500, plain)
  if ctx then ctx.problem, ctx.trace = problem, rest end
  if shape == 'openai' and find(text, '^{"type":"[er]') then return responses_event(problem) end
  return errors.event(shape, problem, ctx and ctx.id)
end

function errors.cut(shape, ctx)
  local problem = errors.problem(502, errors.DIED, 'engine_died')
  problem.type = 'server_error'
  if ctx then ctx.problem = problem end
  local text = errors.event(shape, problem, ctx and ctx.id)
  return shape == 'openai' and text .. 'data: [DONE]\n\n' or text
end

return errors
