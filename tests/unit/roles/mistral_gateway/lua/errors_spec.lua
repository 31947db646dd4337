local json = require 'gateway.json'
local errors = require 'gateway.errors'
local recordings = require 'recordings'

describe('errors', function()
  it("have each client's shape", function()
    local problem = errors.problem(429, 'Too "many".', nil, 'n')
    assert.equal('{"error":{"message":"Too \\"many\\".","type":"rate_limit_error","param":"n","code":"rate_limit_exceeded"},"request_id":"r1"}\n',
      errors.body('openai', problem, 'r1'))
    assert.equal('{"type":"error","error":{"type":"rate_limit_error","message":"Too \\"many\\"."},"request_id":"r1"}\n',
      errors.body('anthropic', problem, 'r1'))
    assert.equal('{"error":"Too \\"many\\".","request_id":"r1"}\n', errors.body('ollama', problem, 'r1'))
    assert.equal('{"error":"Too \\"many\\"."}\n', errors.body('ollama', problem))
  end)

  it('are UTF-8 whatever they quote', function()
    for text, said in pairs {['a\255b'] = 'a?b', ['ä\195'] = '???', ['€😀ä'] = '€😀ä', ['\192\128'] = '??', ['\245\128\128\128'] = '????'} do
      assert.equal('{"error":"' .. said .. '"}\n', errors.body('ollama', errors.problem(400, text)))
    end
  end)

  it('have a type and a sentence for every status', function()
    local types = {[400] = 'invalid_request_error', [401] = 'authentication_error', [403] = 'permission_error', [404] = 'not_found_error',
      [413] = 'request_too_large', [429] = 'rate_limit_error', [500] = 'api_error', [501] = 'invalid_request_error', [502] = 'overloaded_error',
      [503] = 'overloaded_error', [504] = 'timeout_error', [505] = 'invalid_request_error', [418] = 'invalid_request_error', [599] = 'api_error'}
    for status, kind in pairs(types) do
      local problem = errors.problem(status)
      for _, shape in ipairs {'openai', 'anthropic', 'ollama'} do assert.is_true(json.check(errors.body(shape, problem, 'x'))) end
      assert.equal(kind, json.decode(errors.body('anthropic', problem)).error.type)
      local openai = json.decode(errors.body('openai', problem)).error
      assert.equal(status == 429 and 'rate_limit_error' or (status < 500 or status == 501 or status == 505) and 'invalid_request_error' or 'server_error',
        openai.type)
      assert.is_string(openai.code)
      assert.is_true(#openai.message > 10)
    end
  end)
end)

describe("the engine's errors", function()
  it('keep their first line', function()
    local problem, rest = errors.of_engine(500, '{"message":"It broke.\\n   0: <unknown>\\n   1: main\\n","partial_response":{"id":"1"}}')
    assert.equal('It broke.', problem.message)
    assert.equal('engine_error', problem.code)
    assert.equal('\n   0: <unknown>\n   1: main\n', rest)
    problem, rest = errors.of_engine(422, '  plain words \n')
    assert.same({status = 400, message = 'plain words', code = 'engine_refused'}, problem)
    assert.is_nil(rest)
    problem = errors.of_engine(422, '{"error":{"message":"wrong","type":"special","param":"prompt","code":"own_code"}}')
    assert.same({status = 400, message = 'wrong', code = 'own_code', param = 'prompt', type = 'special'}, problem)
    assert.equal('text', errors.of_engine(500, '{"error":"text"}').message)
    assert.equal('text', errors.of_engine(500, '{"detail":"text"}').message)
    assert.equal('[1]', errors.of_engine(500, '[1]').message)
    assert.equal('{"a":1}', errors.of_engine(500, '{"a":1}').message)
    assert.equal(502, errors.of_engine(502, '').status)
    assert.equal('not_served', errors.of_engine(404, '').code)
  end)

  it('quote no picture', function()
    local problem = errors.of_engine(500, 'Failed to parse image resource: data:image/png;base64,' .. ('iVBORw0KGgoA'):rep(1e5))
    assert.equal('Failed to parse image resource: data:image/png;base64,…', problem.message)
    assert.equal(400, problem.status)
    problem = errors.of_engine(500, ('ä'):rep(2000))
    assert.is_true(#problem.message < 1010)
    assert.equal('ää…', problem.message:sub(-7))
  end)

  local MEANT = {
    chat_unknown_model = {404, 'model_not_found', 'model'}, chat_context_overflow = {400, 'context_length_exceeded', 'messages'},
    chat_n0 = {400, 'invalid_value', 'n'}, chat_content_null = {400, 'invalid_value', 'messages'}, chat_json_schema_bad = {400, 'invalid_value', 'response_format'},
    chat_body_51mb = {413, 'request_too_large'}, chat_max_tokens_text = {400, 'engine_refused', 'max_tokens'},
    chat_max_tokens_negative = {400, 'engine_refused', 'max_tokens'}, chat_bad_json = {400, 'engine_refused', 'messages'},
    chat_form = {415, 'engine_refused'}, completions_list = {400, 'engine_refused', 'prompt'}, images = {400, 'unsupported_by_model', 'model'},
    embeddings = {400, 'unsupported_by_model', 'model'}, chat_tools_named = {500, 'tool_not_called', 'tool_choice'},
    completions_unknown_model = {404, 'model_not_found', 'model'}, messages_unknown_model = {404, 'model_not_found', 'model'},
  }
  for _, folder in ipairs {'mistralrs-0.8.1', 'mistralrs-0.9.2+7'} do
    for name, recording in pairs(recordings.all(folder)) do
      if recording.status >= 400 and type(recording.answer) == 'string' then
        it('are told: ' .. folder .. ' ' .. name, function()
          local problem = errors.of_engine(recording.status, recording.answer)
          assert.is_nil(problem.message:find '[\r\n]')
          assert.is_nil(problem.message:find '<unknown>')
          assert.not_equal(422, problem.status)
          local meant = MEANT[name]
          if meant and recording.answer ~= '' then assert.same(meant, {problem.status, problem.code, problem.param}) end
          for _, shape in ipairs {'openai', 'anthropic', 'ollama'} do assert.is_true(json.check(errors.body(shape, problem, 'x'))) end
        end)
      end
    end
  end
end)

describe('errors in a stream', function()
  it("become events of the client's API", function()
    local ctx = {id = 'r1'}
    assert.equal('data: {"error":{"message":"Broken.","type":"server_error","param":null,"code":"engine_error"},"request_id":"r1"}\n\n',
      errors.stream('openai', 'Broken.\ndata:    0: <unknown>\ndata:    1: main', ctx))
    assert.equal('Broken.', ctx.problem.message)
    assert.equal('\n   0: <unknown>\n   1: main', ctx.trace)
    assert.equal('{"error":"Broken.","request_id":"r1"}\n', errors.stream('ollama', '{"error":{"message":"Broken.\\n 0: x","type":"server_error"}}', ctx))
    assert.equal('event: error\ndata: {"type":"error","error":{"type":"api_error","message":"Broken."},"request_id":"r1"}\n\n',
      errors.stream('anthropic', '{"type":"error","error":{"type":"api_error","message":"Broken.\\n 0: x"}}', ctx))
    assert.equal('event: error\ndata: {"type":"error","code":"engine_error","message":"Broken.","param":null,"sequence_number":0}\n\n',
      errors.stream('openai', '{"type":"response.failed","response":{"error":{"message":"Broken.\\n 0: x"}}}', ctx))
  end)

  it('end a stream that the engine has left', function()
    local ctx = {id = 'r1'}
    assert.matches('^data: {"error":{"message":"The model server stopped .*"code":"engine_died"}.*}\n\ndata: %[DONE%]\n\n$', errors.cut('openai', ctx))
    assert.matches('^event: error\ndata: {.*}\n\n$', errors.cut('anthropic', ctx))
    assert.matches('^{"error":".*"}\n$', errors.cut('ollama'))
    assert.equal('engine_died', ctx.problem.code)
  end)

  for _, folder in ipairs {'mistralrs-0.8.1', 'mistralrs-0.9.2+7'} do
    for name, recording in pairs(recordings.all(folder)) do
      if recording.events and not name:match '^responses' and not name:match '^messages' then
        local line = recording.events[1]
        if not line:match '^data: {"id"' then
          it('are told: ' .. folder .. ' ' .. name, function()
            local text = errors.stream('openai', line:sub(7, -3), {id = 'x'})
            assert.matches('^data: {"error":{.*}\n\n$', text)
            assert.is_true(json.check(text:sub(7)))
            assert.is_nil(text:find('<unknown>', 1, true))
          end)
        end
      end
    end
  end
end)
