local json = require 'gateway.json'
local body = require 'gateway.body'
local ollama = require 'gateway.ollama'
local recordings = require 'recordings'

local NOW, TIME = 1795736676, '2026-11-26T23:44:36Z'
local RULES = body.rules {
  line = '0.9.2', default_model = 'tiny', queue = {running = 8, waiting = 1}, models = {{id = 'tiny', names = {'tiny:1b'}}, {id = 'seer', images = true}},
}

local function prepared(call, text)
  local out, request = ollama.prepare(RULES, call, text, nil, NOW)
  assert.is_string(out, request and request.message)
  assert.is_true(json.check(out), out)
  return out, request
end

local function problem_of(call, text)
  local out, problem = ollama.prepare(RULES, call, text, nil, NOW)
  assert.is_nil(out)
  return problem
end

local function chat(more, messages, model)
  return '{"model":"' .. (model or 'tiny') .. '","messages":[' .. (messages or '{"role":"user","content":"Hi"}') .. ']' .. (more or '') .. '}'
end

-- What the engine gets of a chat's messages.
local function messages_of(messages, model)
  return (prepared('chat', chat('', messages, model)):match '"messages":%[(.*)%]}$')
end

describe('a request of /api/chat', function()
  it("is the engine's chat", function()
    local out, request = prepared('chat', '{ "messages" : [{"role":"user","content":"Hi \\u00e9"}], "model":"tiny:1b" }')
    assert.equal('{"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi \\u00e9"}]}', out)
    assert.equal('chat/completions', request.kind)
    assert.is_true(request.stream)
    assert.equal('"tiny:1b"', request.asked)
    assert.equal('application/x-ndjson', request.translator.content_type)
    assert.equal('/v1/chat/completions', request.path)
    assert.same({16, 54}, {request.from, request.to})
    assert.equal('tiny', request.model.id)
    out, request = prepared('chat', chat ',"stream":false')
    assert.is_truthy(out:find('"stream":false', 1, true))
    assert.is_false(request.stream)
    assert.is_nil(request.translator)
    assert.matches('"content":"a"', request.answer '{"choices":[{"finish_reason":"stop","message":{"content":"a"}}]}')
    assert.matches('^{"error":"', request.answer '')
    assert.equal('tiny:1b', ollama.name '{"model":"tiny:1b","verbose":true}')
    assert.equal('a', ollama.name '{"name":"a"}')
    for _, none in ipairs {'', '{}', '{"name":1}', '[]', '{"name"'} do assert.is_nil(ollama.name(none)) end
  end)

  it("has Ollama's options under the engine's names", function()
    local out = prepared('chat', chat(',"options":{"temperature":0.10,"top_k":40,"top_p":0.9,"min_p":0.05,"repeat_penalty":1.1,"num_predict":5,"num_ctx":4096,'
      .. '"seed":9007199254740993,"stop":["a"],"presence_penalty":0,"frequency_penalty":0.5,"mirostat":1,"num_gpu":null}'))
    assert.equal('{"model":"tiny","stream":true,"temperature":0.10,"top_k":40,"top_p":0.9,"min_p":0.05,"repetition_penalty":1.1,"max_tokens":5,'
      .. '"seed":9007199254740993,"stop":["a"],"presence_penalty":0,"frequency_penalty":0.5,"messages":[{"role":"user","content":"Hi"}]}', out)
    for _, nothing in ipairs {'{}', 'null', '{"num_predict":-1}', '{"num_predict":-2,"top_k":0}', '{"temperature":null}'} do
      assert.equal('{"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi"}]}', (prepared('chat', chat(',"options":' .. nothing))))
    end
    assert.equal('temperature must be a number from 0 to 2.', problem_of('chat', chat ',"options":{"temperature":9}').message)
    problem_of('chat', chat ',"options":[]')
    problem_of('chat', chat ',"options":{"num_predict":"x"}')
  end)

  it('thinks, and answers in a form', function()
    for given, made in pairs {
      ['"think":true'] = '"enable_thinking":true', ['"think":false'] = '"enable_thinking":false', ['"think":"high"'] = '"reasoning_effort":"high"',
      ['"format":"json"'] = '"response_format":{"type":"json_object"}',
      ['"format":{"type":"object","properties":{"b":{},"a":{}}}'] =
        '"response_format":{"type":"json_schema","json_schema":{"name":"format","schema":{"type":"object","properties":{"b":{},"a":{}}}}}',
    } do
      assert.equal('{"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi"}],' .. made .. '}', (prepared('chat', chat(',' .. given))))
    end
    for _, nothing in ipairs {'"format":""', '"format":null', '"think":null', '"tools":[]', '"tools":null', '"keep_alive":"5m"'} do
      assert.equal('{"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi"}]}', (prepared('chat', chat(',' .. nothing))))
    end
    problem_of('chat', chat ',"format":"xml"')
    problem_of('chat', chat ',"think":"very"')
  end)

  it('has pictures as parts', function()
    assert.equal('{"role":"user","content":[{"type":"text","text":"?"},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,/9j/AAAA"}},'
      .. '{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0K"}}]}',
      messages_of('{"role":"user","content":"?","images":["/9j/AAAA","iVBORw0K"]}', 'seer'))
    assert.equal('{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/webp;base64,UklGAAAA"}}]}',
      messages_of('{"role":"user","content":"","images":["UklGAAAA"]}', 'seer'))
    assert.equal('{"role":"user","content":"a"}', messages_of '{"role":"user","content":"a","images":[]}')
    assert.equal('unsupported_by_model', problem_of('chat', chat('', '{"role":"user","content":"?","images":["iVBORw0K"]}')).code)
    assert.equal('url_not_allowed', problem_of('chat', chat('', '{"role":"user","content":"?","images":["http://10.0.0.1/x"]}', 'seer')).code)
    assert.equal('url_not_allowed', problem_of('chat', chat('', '{"role":"user","content":"?","images":["https://x/y"]}', 'seer')).code)
    problem_of('chat', chat('', '{"role":"user","content":"?","images":[1]}', 'seer'))
  end)

  it('has tools, calls and their results', function()
    local tool = '{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}'
    assert.is_truthy(prepared('chat', chat(',"tools":[' .. tool .. ']')):find('"tools":[' .. tool .. ']', 1, true))
    assert.equal('{"role":"user","content":"a"},'
      .. '{"role":"assistant","content":"","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\\"city\\": \\"K\\\\u00f6ln\\"}"}},'
      .. '{"id":"call_2","type":"function","function":{"name":"g","arguments":"{}"}},{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}]},'
      .. '{"role":"tool","content":"1","tool_call_id":"call_2"},{"role":"tool","content":"2","tool_call_id":"call_1"},'
      .. '{"role":"tool","content":"3","tool_call_id":"x"},{"role":"tool","content":"4","tool_call_id":"own"}',
      messages_of('{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"city": "K\\u00f6ln"}}},'
        .. '{"function":{"name":"g"}},{"id":"x","function":{"index":2,"name":"f","arguments":"{}"}}]},{"role":"tool","content":"1","tool_name":"g"},'
        .. '{"role":"tool","content":"2","tool_name":"f"},{"role":"tool","content":"3"},{"role":"tool","content":"4","tool_call_id":"own"}'))
    assert.equal('{"role":"tool","content":"1","tool_call_id":"call_0"}', messages_of '{"role":"tool","content":"1","tool_name":"f"}')
    assert.equal('{"role":"assistant","content":"a","reasoning_content":"hm"}', messages_of '{"role":"assistant","content":"a","thinking":"hm","tool_calls":[]}')
    assert.equal('tool_not_allowed', problem_of('chat', chat ',"tools":[{"type":"web_search"}]').code)
    problem_of('chat', chat('', '{"role":"assistant","content":"","tool_calls":[{"function":{}}]}'))
    problem_of('chat', chat('', '1'))
    problem_of('chat', chat('', '{"content":"a"}'))
    problem_of('chat', chat('', '{"role":"wizard","content":"a"}'))
  end)

  it('without messages loads the model', function()
    for text, reason in pairs {['{"model":"tiny:1b"}'] = 'load', ['{"model":"tiny:1b","messages":[]}'] = 'load', ['{"model":"tiny:1b","messages":[],"keep_alive":0}'] = 'unload',
      ['{"model":"tiny:1b","keep_alive":"0s"}'] = 'unload'} do
      local out, request = ollama.prepare(RULES, 'chat', text, nil, NOW)
      assert.equal('', out)
      assert.equal('{"model":"tiny:1b","created_at":"' .. TIME .. '","message":{"role":"assistant","content":""},"done":true,"done_reason":"' .. reason .. '"}\n',
        request.answer_now)
    end
  end)

  it('is refused as Ollama does', function()
    local problem = problem_of('chat', '{"model":"gone","messages":[]}')
    assert.equal(404, problem.status)
    assert.equal("model 'gone' not found", problem.message)
    assert.equal('model is required', problem_of('chat', '{}').message)
    assert.equal('model is required', problem_of('chat', '{"model":1}').message)
    problem_of('chat', '{"model":"tiny"')
    problem_of('chat', '[]')
    assert.is_nil((ollama.prepare(RULES, 'chat', chat(), {seer = true}, NOW)))
    for _, call in ipairs {'pull', 'push', 'create', 'copy', 'delete', 'blobs'} do
      assert.equal(501, ollama.refusal(call).status)
      assert.is_true(#ollama.refusal(call).message > 20)
    end
  end)
end)

describe('a request of the other calls', function()
  it('generates by a chat, or raw', function()
    local function generate(more) return prepared('generate', '{"model":"tiny","prompt":"Hi"' .. more .. '}') end
    assert.equal('{"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi"}]}', (generate ''))
    assert.equal('{"model":"tiny","stream":false,"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}],"enable_thinking":false}',
      (generate ',"system":"Be brief.","stream":false,"think":false,"template":"x","context":[1,2]'))
    local out, request = generate ',"raw":true,"options":{"num_predict":3},"format":"json"'
    assert.equal('{"model":"tiny","stream":true,"max_tokens":3,"prompt":"Hi"}', out)
    assert.equal('completions', request.kind)
    assert.equal('{"model":"tiny","stream":true,"prompt":"Hi","suffix":"!"}', (generate ',"suffix":"!"'))
    out = prepared('generate', '{"model":"seer","prompt":"?","images":["iVBORw0K"]}')
    assert.is_truthy(out:find('{"type":"text","text":"?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0K"}}', 1, true))
    for _, empty in ipairs {'{"model":"tiny"}', '{"model":"tiny","prompt":""}', '{"model":"tiny","prompt":null,"stream":false}'} do
      out, request = ollama.prepare(RULES, 'generate', empty, nil, NOW)
      assert.equal('', out)
      assert.equal('{"model":"tiny","created_at":"' .. TIME .. '","response":"","done":true,"done_reason":"load"}\n', request.answer_now)
    end
    problem_of('generate', '{"model":"tiny","prompt":1}')
  end)

  it('embeds', function()
    local out, request = prepared('embed', '{"model":"tiny","input":["a","b"],"truncate":true,"dimensions":64,"options":{}}')
    assert.equal('{"model":"tiny","input":["a","b"],"dimensions":64,"truncate_sequence":true}', out)
    assert.equal('embeddings', request.kind)
    assert.is_false(request.stream)
    assert.equal('{"model":"tiny","input":"a"}', (prepared('embeddings', '{"model":"tiny","prompt":"a"}')))
    out, request = ollama.prepare(RULES, 'embed', '{"model":"tiny","input":[]}', nil, NOW)
    assert.equal('', out)
    assert.equal('{"model":"tiny","embeddings":[]}\n', request.answer_now)
    out, request = ollama.prepare(RULES, 'embeddings', '{"model":"tiny","prompt":""}', nil, NOW)
    assert.equal('', out)
    assert.equal('{"embedding":[]}\n', request.answer_now)
  end)
end)

describe('an answer', function()
  local CHAT = {call = 'chat', kind = 'chat/completions', asked = '"tiny:1b"'}
  local GENERATE = {call = 'generate', kind = 'chat/completions', asked = '"tiny:1b"'}

  it("has Ollama's fields", function()
    local text = '{"id":"1","choices":[{"finish_reason":"length","index":0,"message":{"content":"a\\n\\"b","role":"assistant","tool_calls":null,"reasoning_content":"hm"},'
      .. '"logprobs":null}],"usage":{"completion_tokens":8,"prompt_tokens":43,"total_tokens":51,"total_time_sec":9.091,"total_prompt_time_sec":7.477,'
      .. '"total_completion_time_sec":1.612}}'
    local ending = '"done":true,"done_reason":"length","total_duration":9091000000,"load_duration":0,"prompt_eval_count":43,"prompt_eval_duration":7477000000,'
      .. '"eval_count":8,"eval_duration":1612000000}\n'
    local start = '{"model":"tiny:1b","created_at":"' .. TIME .. '",'
    assert.equal(start .. '"message":{"role":"assistant","content":"a\\n\\"b","thinking":"hm"},' .. ending, ollama.answer(CHAT, text, NOW))
    assert.equal(start .. '"response":"a\\n\\"b","thinking":"hm",' .. ending, ollama.answer(GENERATE, text, NOW))
  end)

  it('has tool calls with objects', function()
    local function calls(arguments)
      local text = '{"choices":[{"finish_reason":"tool_calls","message":{"content":null,"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":'
        .. arguments .. '}}]}}]}'
      return json.decode(ollama.answer(CHAT, text, NOW))
    end
    local made = calls '"{\\"city\\": \\"Paris\\", \\"n\\": 9007199254740993}"'
    assert.equal('', made.message.content)
    assert.equal('stop', made.done_reason)
    assert.equal('c1', made.message.tool_calls[1].id)
    assert.equal('f', made.message.tool_calls[1]['function'].name)
    assert.equal('Paris', made.message.tool_calls[1]['function'].arguments.city)
    for _, broken in ipairs {'"{"', '"[1]"', '""', 'null', '1'} do
      assert.same({}, calls(broken).message.tool_calls[1]['function'].arguments)
    end
  end)

  it('has embeddings', function()
    local text = '{"object":"list","data":[{"object":"embedding","embedding":[0.10,-2e-5],"index":0},{"embedding":[3],"index":1}],'
      .. '"model":"m","usage":{"prompt_tokens":4,"total_tokens":4}}'
    assert.equal('{"model":"m","embeddings":[[0.10,-2e-5],[3]],"total_duration":0,"load_duration":0,"prompt_eval_count":4}\n',
      ollama.answer({call = 'embed', kind = 'embeddings', asked = '"m"'}, text, NOW))
    assert.equal('{"embedding":[0.10,-2e-5]}\n', ollama.answer({call = 'embeddings', kind = 'embeddings', asked = '"m"'}, text, NOW))
  end)

  it("that can't be read is the engine's fault", function()
    for _, text in ipairs {'', 'x', '{}', '{"choices":[]}', '{"choices":[1]}', '[]'} do
      local out, problem = ollama.answer(CHAT, text, NOW)
      assert.is_nil(out)
      assert.equal(502, problem.status)
      assert.is_nil((ollama.answer({call = 'embed', kind = 'embeddings', asked = '"m"'}, text, NOW)))
    end
  end)

  for _, folder in ipairs {'mistralrs-0.8.1', 'mistralrs-0.9.2+7'} do
    for name, recording in pairs(recordings.all(folder)) do
      if recording.status == 200 and (name:match '^chat' or name:match '^completions') and recording.answer and recording.answer ~= '' then
        it('of the engine is told: ' .. folder .. ' ' .. name, function()
          local call = name:match '^chat' and 'chat' or 'generate'
          local made = json.decode((ollama.answer({call = call, kind = 'x', asked = '"m"'}, recording.answer, NOW)))
          local real = json.decode(recording.answer)
          local choice = real.choices[1]
          assert.equal(choice.text or choice.message.content, made.response or made.message.content)
          assert.equal(real.usage.completion_tokens, made.eval_count)
          assert.equal(real.usage.prompt_tokens, made.prompt_eval_count)
          assert.equal(choice.finish_reason, made.done_reason)
        end)
      end
    end
  end
end)

describe('a stream', function()
  -- Feeds a text in lines; returns the lines that come out, decoded, and whether it was done.
  local function fed(request, text)
    local translator, out, done = ollama.stream(request, NOW), {}, false
    for line in text:gmatch '([^\n]*)\n' do
      local made, is_done = translator:feed(line)
      out[#out + 1] = made
      done = done or is_done == true
    end
    if not done then out[#out + 1] = translator:finish() end
    local lines = {}
    for line in table.concat(out):gmatch '([^\n]*)\n' do lines[#lines + 1] = assert(json.decode(line), line) end
    return lines, done, translator
  end

  for _, folder in ipairs {'mistralrs-0.8.1', 'mistralrs-0.9.2+7'} do
    for name, recording in pairs(recordings.all(folder)) do
      if recording.events and (name:match '^chat' or name:match '^completions') then
        it('of the engine is told: ' .. folder .. ' ' .. name, function()
          local call = name:match '^chat' and 'chat' or 'generate'
          local text = table.concat(recording.events)
          local lines, done = fed({call = call, asked = '"m"'}, text)
          assert.is_true(done)
          local said, expected = '', ''
          for _, line in ipairs(lines) do
            if line.error then
              assert.is_nil(line.error:find '\n')
              assert.equal(1, #lines)
              return
            end
            assert.equal('m', line.model)
            said = said .. (line.response or line.message.content)
          end
          local reason, usage
          for data in text:gmatch 'data: ({[^\n]*})' do
            local choice = json.decode(data).choices[1]
            expected = expected .. (choice.text or choice.delta.content)
            reason, usage = choice.finish_reason, json.decode(data).usage
          end
          assert.equal(expected, said)
          assert.is_true(lines[#lines].done)
          for k = 1, #lines - 1 do assert.is_false(lines[k].done) end
          assert.equal(reason, lines[#lines].done_reason)
          if usage then assert.equal(usage.completion_tokens, lines[#lines].eval_count) end
        end)
      end
    end
  end

  local function event(delta, reason, usage)
    return 'data: {"id":"5","choices":[{"finish_reason":' .. (reason and '"' .. reason .. '"' or 'null') .. ',"index":0,"delta":' .. delta
      .. ',"logprobs":null}],"created":1,"object":"chat.completion.chunk","usage":' .. (usage or 'null') .. '}\n\n'
  end

  it('has thinking, tool calls and text of any kind', function()
    local text = ': keep-alive\n\n' .. event '{"content":null,"role":"assistant","tool_calls":null,"reasoning_content":"hm\\n"}'
      .. event '{"content":"\\"}]{,ä","role":"assistant","tool_calls":null}' .. event '{"content":"","role":"assistant","tool_calls":null}'
      .. event('{"content":"","role":"assistant","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{\\"a\\":1}"}}]}', 'tool_calls',
        '{"completion_tokens":3,"prompt_tokens":2,"total_time_sec":1}') .. 'data: [DONE]\n\n'
    local lines = fed({call = 'chat', asked = '"m"'}, text)
    assert.equal(4, #lines)
    assert.equal('hm\n', lines[1].message.thinking)
    assert.equal('', lines[1].message.content)
    assert.equal('"}]{,ä', lines[2].message.content)
    assert.equal(1, lines[3].message.tool_calls[1]['function'].arguments.a)
    assert.equal('stop', lines[4].done_reason)
    assert.equal(3, lines[4].eval_count)
    assert.equal(1e9, lines[4].total_duration)
    lines = fed({call = 'generate', asked = '"m"'}, text)
    assert.equal('hm\n', lines[1].thinking)
    assert.equal('"}]{,ä', lines[2].response)
  end)

  it('ends with an error where the engine does', function()
    local lines, done, translator = fed({call = 'chat', asked = '"m"'}, event '{"content":"a","role":"assistant","tool_calls":null}'
      .. 'data: Model failed.\ndata:    0: <unknown>\n\ndata: [DONE]\n\n')
    assert.is_true(done)
    assert.equal(2, #lines)
    assert.same({error = 'Model failed.'}, lines[2])
    assert.equal('Model failed.', translator.problem.message)
    lines = fed({call = 'chat', asked = '"m"'}, 'data: {"error":{"message":"Bad.\\n 0: x","type":"server_error","param":null,"code":null}}\n\ndata: [DONE]\n\n')
    assert.same({{error = 'Bad.'}}, lines)
    lines, done = fed({call = 'chat', asked = '"m"'}, event '{"content":"a","role":"assistant","tool_calls":null}')
    assert.is_false(done)
    assert.equal('The model server stopped in the middle of the answer.', lines[2].error)
    lines = fed({call = 'chat', asked = '"m"'}, event('{"content":"a","role":"assistant","tool_calls":null}', 'stop'))
    assert.equal('a', lines[1].message.content)
    assert.is_true(lines[2].done)
    assert.equal('{"error":"Gone.","request_id":"r"}\n', ollama.stream({call = 'chat', asked = '"m"'}, NOW):fail('engine_died', 'Gone.', 'r'))
    lines = fed({call = 'chat', asked = '"m"'}, 'data: {"choices":\n\n')
    assert.is_string(lines[1].error)
  end)

  it('costs little for each event', function()
    local translator = ollama.stream({call = 'chat', asked = '"m"'}, NOW)
    local line = event('{"content":" word","role":"assistant","tool_calls":null}'):sub(1, -3)
    for _ = 1, 1000 do translator:feed(line) end
    local start = os.clock()
    for _ = 1, 100000 do translator:feed(line) end
    assert.is_true(os.clock() - start < 0.5)
  end)
end)
