local json = require 'gateway.json'
local body = require 'gateway.body'
local anthropic = require 'gateway.anthropic'
local recordings = require 'recordings'

local RULES = body.rules {
  line = '0.8.1', default_model = 'tiny', queue = {running = 8, waiting = 1}, models = {{id = 'tiny', names = {'claude-3'}}, {id = 'seer', images = true}},
}

local function prepared(text)
  local out, request = anthropic.prepare(RULES, 'messages', text, nil, 0, 'r1')
  assert.is_string(out, request and request.message)
  assert.is_true(json.check(out), out)
  return out, request
end

local function problem_of(text, kind)
  local out, problem = anthropic.prepare(RULES, kind or 'messages', text, nil, 0, 'r1')
  assert.is_nil(out)
  return problem
end

local function messages(list, more)
  return '{"model":"tiny","max_tokens":16' .. (more or '') .. ',"messages":[' .. list .. ']}'
end

local function messages_of(list, more)
  return (prepared(messages(list, more)):match '"messages":%[(.*)%]}$')
end

describe("a request of Anthropic's API", function()
  it('is a chat', function()
    local text = messages('{"role":"user","content":"Hi \\u00e9"}', ',"system":"Be brief.","stop_sequences":["a"],"temperature":0.50,"top_k":5,"stream":true,'
      .. '"thinking":{"type":"enabled","budget_tokens":1024},"metadata":{"user_id":"u"}')
    local out, request = prepared(text)
    assert.equal('{"model":"tiny","max_tokens":16,"temperature":0.50,"top_k":5,"stream":true,"stop":["a"],"enable_thinking":true,"messages":['
      .. '{"role":"system","content":"Be brief."},{"role":"user","content":"Hi \\u00e9"}]}', out)
    assert.equal('/v1/chat/completions', request.path)
    assert.equal('[{"role":"user","content":"Hi \\u00e9"}]', text:sub(request.from, request.to))
    assert.equal('text/event-stream', request.translator.content_type)
    out, request = prepared '{"model":"claude-3","messages":[{"role":"user","content":"Hi"}]}'
    assert.equal('{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}', out)
    assert.equal('"claude-3"', request.asked)
    assert.is_function(request.answer)
  end)

  it('has blocks as parts, joined', function()
    assert.equal('{"role":"system","content":"a\\nb"},{"role":"user","content":"c\\nd"},{"role":"assistant","content":"e"}',
      messages_of('{"role":"user","content":[{"type":"text","text":"c","cache_control":{"type":"ephemeral"}},{"type":"text","text":"d"}]},'
        .. '{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"y"},{"type":"text","text":"e"}]}',
        ',"system":[{"type":"text","text":"a"},{"type":"text","text":"b"}]'))
    local out = prepared('{"model":"seer","messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg",'
      .. '"data":"/9j/"}},{"type":"text","text":"?"}]}]}')
    assert.is_truthy(out:find('"content":[{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,/9j/"}},{"type":"text","text":"?"}]', 1, true))
  end)

  it('has tools, their use and their results', function()
    assert.equal('{"role":"user","content":"a"},{"role":"assistant","content":"b","tool_calls":[{"id":"t1","type":"function","function":{"name":"f",'
      .. '"arguments":"{\\"city\\": \\"K\\\\u00f6ln\\"}"}},{"id":"t2","type":"function","function":{"name":"g","arguments":"{}"}}]},'
      .. '{"role":"tool","tool_call_id":"t1","content":"1\\n2"},{"role":"tool","tool_call_id":"t2","content":"x"},{"role":"user","content":"c"}',
      messages_of('{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"b"},{"type":"tool_use","id":"t1","name":"f",'
        .. '"input":{"city": "K\\u00f6ln"}},{"type":"tool_use","id":"t2","name":"g","input":{}}]},{"role":"user","content":[{"type":"text","text":"c"},'
        .. '{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"1"},{"type":"text","text":"2"}]},'
        .. '{"type":"tool_result","tool_use_id":"t2","content":"x"}]}'))
    assert.equal('{"role":"tool","tool_call_id":"t","content":""}', messages_of '{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}')
    local out = prepared(messages('{"role":"user","content":"a"}', ',"tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}'))
    assert.is_truthy(out:find('"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}],"tool_choice":"auto"', 1, true))
    out = prepared(messages('{"role":"user","content":"a"}', ',"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"tool","name":"f"}'))
    assert.is_truthy(out:find('"tool_choice":{"type":"function","function":{"name":"f"}}', 1, true))
  end)

  it('is refused where an engine with this API would', function()
    for text, code in pairs {
      [messages '{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://x"}}]}'] = 'url_not_allowed',
      [messages '{"role":"user","content":[{"type":"document"}]}'] = 'file_not_allowed',
      [messages '{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"AA"}}]}'] = 'unsupported_by_model',
      [messages('{"role":"user","content":"a"}', ',"tools":[{"type":"web_search_20250305","name":"web_search"}]')] = 'tool_not_allowed',
      [messages('{"role":"user","content":"a"}', ',"container":{"skills":[]}')] = 'parameter_not_allowed',
      [messages ''] = 'invalid_value', [messages '{"role":"user","content":[{"type":"thinking"}]}'] = 'invalid_value',
      [messages '{"role":"user","content":[{"type":"text"}]}'] = 'invalid_value', [messages '{"role":"user","content":[{"type":"tool_result"}]}'] = 'invalid_value',
      [messages '{"role":"assistant","content":[{"type":"tool_use"}]}'] = 'invalid_value',
      ['{"model":"gone","messages":[]}'] = 'model_not_found', ['{"messages":[]}'] = 'invalid_value', ['{"model":"tiny"}'] = 'missing_required_parameter',
      ['{'] = 'invalid_json', ['[]'] = 'invalid_json', ['{"model":"tiny","max_tokens":0,"messages":[{"role":"user","content":"a"}]}'] = 'invalid_value',
    } do
      assert.equal(code, problem_of(text).code, text)
    end
    local problem = problem_of('{}', 'messages/count_tokens')
    assert.equal(404, problem.status)
    assert.equal('The model server (0.8.1) counts no tokens: its line has no such call.', problem.message)
  end)
end)

local REQUEST = {asked = '"claude-3"'}

describe("an answer of Anthropic's API", function()
  it('has its fields', function()
    assert.equal('{"id":"msg_r1","type":"message","role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"a\\n"}],'
      .. '"model":"claude-3","stop_reason":"max_tokens","stop_sequence":null,"usage":{"input_tokens":43,"output_tokens":8}}\n',
      anthropic.answer(REQUEST, '{"id":"1","choices":[{"finish_reason":"length","message":{"content":"a\\n","reasoning_content":"hm","tool_calls":null}}],'
        .. '"usage":{"completion_tokens":8,"prompt_tokens":43}}', 'r1'))
    local made = json.decode(anthropic.answer(REQUEST, '{"choices":[{"finish_reason":"tool_calls","message":{"content":null,"tool_calls":[{"id":"c","function":'
      .. '{"name":"f","arguments":"{\\"a\\":1}"}},{"function":{"name":"g","arguments":"broken"}}]}}]}', 'r1'))
    assert.equal('tool_use', made.stop_reason)
    assert.equal(1, made.content[1].input.a)
    assert.equal('toolu_r1_2', made.content[2].id)
    assert.same({}, made.content[2].input)
    for _, text in ipairs {'', 'x', '{}', '{"choices":[]}'} do
      local out, problem = anthropic.answer(REQUEST, text, 'r1')
      assert.is_nil(out)
      assert.equal(502, problem.status)
    end
  end)
end)

describe("a stream of Anthropic's API", function()
  local function fed(text)
    local translator, out, done = anthropic.stream(REQUEST, 'r1'), {}, false
    for line in text:gmatch '([^\n]*)\n' do
      local made, is_done = translator:feed(line)
      out[#out + 1] = made
      done = done or is_done == true
    end
    if not done then out[#out + 1] = translator:finish() end
    local events = {}
    for name, data in table.concat(out):gmatch 'event: ([^\n]*)\ndata: ([^\n]*)\n\n' do
      local event = assert(json.decode(data), data)
      assert.equal(name, event.type)
      events[#events + 1] = event
    end
    return events, translator
  end

  local function names(events)
    local list = {}
    for k, event in ipairs(events) do list[k] = event.type:gsub('content_block_', '') end
    return table.concat(list, ' ')
  end

  for _, folder in ipairs {'mistralrs-0.8.1', 'mistralrs-0.9.2+7'} do
    for name, recording in pairs(recordings.all(folder)) do
      if recording.events and name:match '^chat' then
        it("is made of the engine's: " .. folder .. ' ' .. name, function()
          local events = fed(table.concat(recording.events))
          if events[1].type == 'error' then
            assert.equal(1, #events)
            assert.is_nil(events[1].error.message:find '\n')
            return
          end
          local said, expected, usage = '', '', nil
          for _, event in ipairs(events) do
            if event.type == 'content_block_delta' then said = said .. event.delta.text end
          end
          for data in table.concat(recording.events):gmatch 'data: ({[^\n]*})' do
            expected = expected .. json.decode(data).choices[1].delta.content
            usage = json.decode(data).usage
          end
          assert.equal(expected, said)
          assert.matches('^message_start start [delta ]+ stop message_delta message_stop$', names(events))
          assert.equal(usage.completion_tokens, events[#events - 1].usage.output_tokens)
          assert.equal('msg_r1', events[1].message.id)
        end)
      end
    end
  end

  local function event(delta, reason, usage)
    return 'data: {"id":"5","choices":[{"finish_reason":' .. (reason and '"' .. reason .. '"' or 'null') .. ',"index":0,"delta":' .. delta
      .. ',"logprobs":null}],"usage":' .. (usage or 'null') .. '}\n\n'
  end

  it('has a block for thinking, text and each tool', function()
    local events = fed(': keep-alive\n\n' .. event '{"content":null,"role":"assistant","tool_calls":null,"reasoning_content":"hm"}'
      .. event '{"content":"a\\"","role":"assistant","tool_calls":null}' .. event '{"content":"b","role":"assistant","tool_calls":null}'
      .. event '{"content":null,"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{\\"a\\":"}}]}'
      .. event '{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}'
      .. event('{"tool_calls":[{"index":1,"id":"d","function":{"name":"g","arguments":"{}"}}]}', 'tool_calls', '{"completion_tokens":9,"prompt_tokens":2}')
      .. 'data: [DONE]\n\n')
    assert.equal('message_start start delta stop start delta delta stop start delta delta stop start delta stop message_delta message_stop', names(events))
    assert.equal('hm', events[3].delta.thinking)
    assert.equal('a"', events[6].delta.text)
    assert.equal('c', events[9].content_block.id)
    assert.equal('{"a":', events[10].delta.partial_json)
    assert.equal(3, events[13].index)
    assert.equal('tool_use', events[16].delta.stop_reason)
    assert.equal(9, events[16].usage.output_tokens)
    assert.equal(2, events[16].usage.input_tokens)
  end)

  it('ends with an error where the engine does', function()
    local events, translator = fed(event '{"content":"a","role":"assistant","tool_calls":null}' .. 'data: Broken.\ndata:  0: x\n\ndata: [DONE]\n\n')
    assert.equal('message_start start delta error', names(events))
    assert.equal('Broken.', events[4].error.message)
    assert.equal('Broken.', translator.problem.message)
    events = fed(event '{"content":"a","role":"assistant","tool_calls":null}')
    assert.equal('message_start start delta error', names(events))
    assert.equal('The model server stopped in the middle of the answer.', events[4].error.message)
    assert.equal('message_start message_delta message_stop', names(fed 'data: [DONE]\n\n'))
    assert.matches('^event: error\n', translator:fail('x', 'y'))
  end)
end)
