local json = require 'gateway.json'
local body = require 'gateway.body'
local recordings = require 'recordings'

local CHAT = 'chat/completions'

local function plan(changes)
  local made = {
    line = '0.9.2', default_model = 'smollm2-q4_1', queue = {running = 32, waiting = 10}, models = {
      {id = 'smollm2-q4_1', names = {'SmolLM2-135M.gguf', 'smollm2:135m'}},
      {id = 'pictures', names = {}, images = true},
    },
  }
  for name, value in pairs(changes or {}) do made[name] = value end
  return made
end

local RULES = body.rules(plan())
local OLD = body.rules(plan {line = '0.8.1'})
local ROLE = body.rules(plan {defaults = {temperature = 0.7, top_p = 0.9, max_tokens = 64}, max_tokens_limit = 2048})

-- A body of a chat with some more text in it.
local function chat(more, messages)
  return '{"model":"smollm2-q4_1","messages":' .. (messages or '[{"role":"user","content":"Hi"}]') .. (more or '') .. '}'
end

local function problem_of(text, kind, rules)
  local out, problem = body.prepare(rules or RULES, kind or CHAT, text)
  assert.is_nil(out, 'was taken: ' .. text)
  assert.is_true(problem.status >= 400)
  assert.is_string(problem.message)
  return problem
end

local function prepared(text, kind, rules)
  local out, request = body.prepare(rules or RULES, kind or CHAT, text)
  assert.is_string(out, type(request) == 'table' and request.message or nil)
  assert.is_true(json.check(out), out)
  return out, request
end

-- What is not byte for byte the same at the engine: the code of the problem, or the text that is there instead.
local DIFFERENT = {
  chat_default = 'changed', chat_no_model = 'changed', chat_unknown_field = 'changed', chat_max_completion_tokens = 'changed',
  chat_role_developer = 'changed',
  chat_content_parts = 'changed',
  chat_image = 'unsupported_by_model', chat_unknown_model = 'model_not_found', chat_stream_unknown_model = 'model_not_found',
  completions_unknown_model = 'model_not_found', messages_unknown_model = 'model_not_found',
  chat_max_tokens_0 = 'invalid_value', chat_max_tokens_negative = 'invalid_value', chat_max_tokens_text = 'invalid_value',
  chat_messages_empty = 'invalid_value', chat_messages_text = 'invalid_value', chat_n0 = 'invalid_value',
  chat_temperature_3 = 'invalid_value', chat_temperature_negative = 'invalid_value', chat_top_p_2 = 'invalid_value',
  chat_logprobs_21 = 'invalid_value', chat_role_unknown = 'invalid_value', chat_content_null = 'invalid_value',
  chat_web_search = 'parameter_not_allowed', chat_tool_type_other = 'tool_not_allowed',
  chat_bad_json = 'invalid_json', chat_empty_body = 'invalid_json', chat_form = 'invalid_json',
  completions_list = 'invalid_value', completions_tokens = 'invalid_value',
  images = 'changed', speech = 'changed',
}
-- What the older engine can't do is told apart.
local OLDER = {chat_json_object = 'changed', chat_tools_required = 'unsupported_value'}

describe('what clients were recorded to send', function()
  for folder, rules in pairs {['mistralrs-0.8.1'] = OLD, ['mistralrs-0.9.2+7'] = RULES} do
    for name, recording in pairs(recordings.all(folder)) do
      local kind = recording.method == 'POST' and recording.path:match '^/v1/(.*)$'
      if kind and recording.body and require('gateway.fields').of[kind] then
        it(folder .. ' ' .. name, function()
          local expected = rules == OLD and OLDER[name] or DIFFERENT[name]
          local out, request = body.prepare(rules, kind, recording.body)
          if not expected then
            assert.equal(recording.body, out, type(request) == 'table' and request.message or nil)
          elseif expected == 'changed' then
            assert.is_string(out, request and request.message)
            assert.not_equal(recording.body, out)
            assert.is_true(json.check(out))
          else
            assert.is_nil(out)
            assert.equal(expected, request.code)
            assert.equal(expected == 'model_not_found' and 404 or 400, request.status)
          end
        end)
      end
    end
  end
end)

describe('the model', function()
  it('has the names that people have for it', function()
    for _, name in ipairs {'smollm2-q4_1', 'SmolLM2-135M.gguf', 'smollm2-135m', 'SmolLM2-135M', 'smollm2:135m', 'smollm2-q4_1:latest',
      'smollm2-q4_1.gguf', 'default', '', 'SMOLLM2-Q4_1', 'smollm2\\u002dq4_1'} do
      local out, request = prepared('{"model":"' .. name .. '","messages":[{"role":"user","content":"Hi"}]}')
      assert.equal(chat(), out)
      assert.equal('smollm2-q4_1', request.model.id)
    end
    assert.equal('{"model":"smollm2-q4_1","prompt":"x"}', (prepared('{"prompt":"x"}', 'completions')))
    assert.equal('{"model":"smollm2-q4_1","prompt":"x"}', (prepared('{"model":null,"prompt":"x"}', 'completions')))
  end)

  it('must be one that the key may use', function()
    local allowed = {pictures = true}
    assert.is_nil((body.prepare(RULES, CHAT, chat(), allowed)))
    local _, request = body.prepare(RULES, CHAT, '{"messages":[{"role":"user","content":"Hi"}]}', allowed)
    assert.equal('pictures', request.model.id)
    assert.is_string((body.prepare(RULES, CHAT, chat(), {['smollm2:135m'] = true})))
    local problem = problem_of('{"model":"gpt","messages":[]}')
    assert.equal(404, problem.status)
    assert.equal('The model "gpt" does not exist, or this key may not use it. Available: smollm2-q4_1, pictures.', problem.message)
    assert.equal('model must be a text.', problem_of('{"model":1,"messages":[]}').message)
    assert.equal(404, problem_of('{"model":"__index","messages":[]}').status)
    assert.equal('The name of the model is too long.', problem_of('{"model":"' .. ('x'):rep(2000) .. '","messages":[]}').message)
  end)
end)

describe('defaults and bounds', function()
  local M = '"messages":[{"role":"user","content":"Hi"}]'
  local cases = {
    {'', '"temperature":0.7,"top_p":0.9,"max_tokens":64,', ''},
    {',"temperature":0,"top_p":1', '"max_tokens":64,', ',"temperature":0,"top_p":1'},
    {',"temperature":null', '"top_p":0.9,"max_tokens":64,', ',"temperature":0.7'},
    {',"max_tokens":7', '"temperature":0.7,"top_p":0.9,', ',"max_tokens":7'},
    {',"max_tokens":null', '"temperature":0.7,"top_p":0.9,"max_tokens":64,', ''},
    {',"max_completion_tokens":8', '"temperature":0.7,"top_p":0.9,', ',"max_tokens":8'},
    {',"max_completion_tokens":8,"max_tokens":7', '"temperature":0.7,"top_p":0.9,', ',"max_tokens":8'},
    {',"max_tokens":7, "max_completion_tokens" : 8 ', '"temperature":0.7,"top_p":0.9,', ',"max_tokens" : 8 '},
    {',"max_tokens":1000000000', '"temperature":0.7,"top_p":0.9,', ',"max_tokens":2048'},
    {',"max_completion_tokens":1000000000', '"temperature":0.7,"top_p":0.9,', ',"max_tokens":2048'},
    {',"stop":["a"],"seed":9007199254740993,"x":1.0', '"temperature":0.7,"top_p":0.9,"max_tokens":64,',
      ',"stop":["a"],"seed":9007199254740993'},
  }
  for _, case in ipairs(cases) do
    it('with ' .. (case[1] == '' and 'nothing' or case[1]), function()
      local out = prepared('{"model":"smollm2-q4_1",' .. M .. case[1] .. '}', nil, ROLE)
      assert.equal('{' .. case[2] .. '"model":"smollm2-q4_1",' .. M .. case[3] .. '}', out)
    end)
  end

  it('are those of the model and of the context too', function()
    local rules = body.rules(plan {context_length = 512, models = {{id = 'a'}, {id = 'b', context_length = 128, max_tokens = 32}},
      default_model = 'a', max_tokens_limit = 1024})
    local _, request = prepared('{"prompt":"x"}', 'completions', rules)
    assert.equal(512, request.max_tokens)
    _, request = prepared('{"model":"b","prompt":"x","max_tokens":100}', 'completions', rules)
    assert.equal(32, request.max_tokens)
  end)

  it('hold for the other APIs under their names', function()
    local out = prepared('{"model":"smollm2-q4_1","input":"Hi","max_output_tokens":5000}', 'responses', ROLE)
    assert.equal('{"temperature":0.7,"top_p":0.9,"model":"smollm2-q4_1","input":"Hi","max_output_tokens":2048}', out)
    out = prepared('{"model":"smollm2-q4_1","messages":[{"role":"user","content":"Hi"}]}', 'messages', ROLE)
    assert.equal('{"temperature":0.7,"top_p":0.9,"max_tokens":64,"model":"smollm2-q4_1","messages":[{"role":"user","content":"Hi"}]}', out)
    out = prepared('{"model":"smollm2-q4_1","input":"Hi"}', 'embeddings', ROLE)
    assert.equal('{"model":"smollm2-q4_1","input":"Hi"}', out)
  end)
end)

describe('fields', function()
  it('that the path does not have are left out and told', function()
    local out, request = prepared('{"a":1, "model":"smollm2-q4_1" ,"b":{"c":[]},"messages":[{"role":"user","content":"Hi"}],"d":2,"e":3}')
    assert.equal('{"model":"smollm2-q4_1" ,"messages":[{"role":"user","content":"Hi"}]}', out)
    assert.same({'a', 'b', 'd', 'e'}, request.ignored)
    out = prepared('{"messages":[{"role":"user","content":"Hi"}],"prompt":"x"}')
    assert.equal('{"model":"smollm2-q4_1","messages":[{"role":"user","content":"Hi"}]}', out)
  end)

  it('that make the engine do something are refused by name', function()
    for _, name in ipairs {'web_search_options', 'enable_search', 'enable_code_execution', 'code_execution_permission', 'enable_shell',
      'shell_skill_references', 'agent_permission', 'session_id', 'files', 'max_tool_rounds', 'adapter', 'ignore_eos', 'container',
      'mcp_servers'} do
      for _, kind in ipairs {CHAT, 'messages', 'responses', 'completions'} do
        local text = '{"messages":[{"role":"user","content":"Hi"}],"input":"a","prompt":"b","' .. name .. '":'
        local problem = problem_of(text .. '{}}', kind)
        assert.equal('parameter_not_allowed', problem.code)
        assert.equal(name, problem.param)
        assert.is_truthy(problem.message:find(name, 1, true))
        problem_of(text .. '1}', kind)
        for _, nothing in ipairs {'null', 'false', '[]', '[ ]'} do
          local out = prepared(text .. nothing .. '}', kind)
          assert.is_nil(out:find(name, 1, true))
        end
      end
    end
  end)

  it("have OpenAI's ranges", function()
    local wrong = {
      temperature = {'-0.1', '2.1', '"1"', '1e9', 'true', '[]'}, top_p = {'-1', '1.01', '{}'}, n = {'0', '-1', '129', '1.5', '"1"', '33'},
      max_tokens = {'0', '-1', '1.5', '"8"', '[]', 'true', '99999999999999999999'}, max_completion_tokens = {'0', '"x"'},
      presence_penalty = {'-2.1', '3'}, frequency_penalty = {'-3', '2.5'}, top_logprobs = {'-1', '21', '1.5', '3'},
      logprobs = {'1', '"true"'}, stream = {'1', '"true"'}, stop = {'1', '[1]', '{}', '["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"]'},
      response_format = {'"json"', '{}', '{"type":"xml"}', '{"type":"json_schema"}', '{"type":"json_schema","json_schema":{}}'},
      tools = {'{}', '[1]', '[{"type":"web_search"}]', '[{"type":"function"}]', '[{"function":{"name":"f"}}]', '[{"type":"mcp"}]'},
      tool_choice = {'"any"', '1', '{"type":"web_search_preview"}', '"required"', '{"type":"function","function":{"name":"f"}}'},
      logit_bias = {'[]', '1'}, top_k = {'-2', '1.5', '"3"'}, min_p = {'2'},
    }
    for name, values in pairs(wrong) do
      for _, value in ipairs(values) do
        local problem = problem_of(chat(',"' .. name .. '":' .. value))
        assert.equal(400, problem.status)
        assert.equal(name, problem.param:match '^[%a_]+')
      end
    end
    for _, good in ipairs {'"temperature":0', '"temperature":2', '"temperature":2.0', '"top_p":0', '"n":32', '"max_tokens":1', '"stop":null', '"stop":"x"',
      '"logprobs":true,"top_logprobs":20', '"top_logprobs":0', '"seed":-1', '"response_format":{"type":"text"}', '"tools":[]', '"tools":null',
      '"tools":[{"type":"function","function":{"name":"f","parameters":{"url":"http://x"}}}],"tool_choice":"required"', '"temperature":null',
      '"presence_penalty":-2', '"logit_bias":{"100":-100}', '"user":"u"', '"reasoning_effort":"low"', '"top_k":1'} do
      assert.equal(chat(',' .. good), (prepared(chat(',' .. good))))
    end
    assert.equal(chat(''), (prepared(chat(',"top_k":-1,"n":null,"logprobs":null'))))
    assert.equal(chat(',"reasoning_effort":"low"'), (prepared(chat(',"reasoning_effort":"minimal"'))))
    assert.equal('best_of must be at least n.', problem_of('{"prompt":"x","n":3,"best_of":2}', 'completions').message)
  end)

  it('ask an engine that mixes up answers for one at a time', function()
    local rules = body.rules(plan {queue = {running = 1, waiting = 1}})
    local problem = problem_of(chat(',"n":2'), nil, rules)
    assert.equal('unsupported_value', problem.code)
    prepared(chat(',"n":1'), nil, rules)
  end)

  it('that are needed are missed', function()
    for kind, name in pairs(require('gateway.fields').needed) do
      local problem = problem_of('{"model":"default"}', kind)
      assert.equal(name .. ' is missing.', problem.message)
      assert.equal('missing_required_parameter', problem.code)
    end
  end)

  it('of an engine without them are said otherwise', function()
    local out = prepared(chat(',"response_format":{"type":"json_object"}'), nil, OLD)
    assert.equal(chat(',"response_format":{"type":"json_schema","json_schema":{"name":"object","schema":{"type":"object"}}}'), out)
    assert.equal(chat(',"response_format":{"type":"json_object"}'), (prepared(chat(',"response_format":{"type":"json_object"}'))))
    out = prepared(chat(',"response_format":{"type":"json_schema","json_schema":{"schema":{}}}'))
    assert.equal(chat(',"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{}}}'), out)
  end)
end)

describe('messages', function()
  local function content(part, model)
    return '{"model":"' .. (model or 'smollm2-q4_1') .. '","messages":[{"role":"user","content":' .. part .. '}]}'
  end

  it('of text parts are joined for models without images', function()
    local out = prepared(content '[{"type":"text","text":"a\\u00e9"}, {"text":"b\\"","type":"text","cache_control":{"type":"ephemeral"}}]')
    assert.equal(content '"a\\u00e9\\nb\\""', out)
    assert.equal(content '"x"', (prepared(content '[ {"type" : "text" , "text" : "x"} ]')))
    assert.equal(content '""', (prepared(content '[]')))
    assert.equal(content '"b"', (prepared(content '[{"type":"thinking","thinking":[]},{"type":"text","text":"b"}]')))
    assert.equal(content '""', (prepared(content '[{"type":"thinking","thinking":"a"}]')))
    local parts = content('[{"type":"text","text":"a"},{"type":"text","text":"b"}]', 'pictures')
    assert.equal(parts, (prepared(parts)))
    out = prepared('{"model":"pictures","messages":[{"role":"system","content":[{"type":"text","text":"a"}]}]}')
    assert.equal('{"model":"pictures","messages":[{"role":"system","content":"a"}]}', out)
  end)

  it('have pictures only where the model takes them, and only in themselves', function()
    local good = content('[{"type":"text","text":"?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]', 'pictures')
    local out, request = prepared(good)
    assert.equal(good, out)
    assert.is_true(request.has_media)
    out = prepared(content('[{"type":"image_url","image_url":"data:image/png;base64,AAAA"}]', 'pictures'))
    assert.equal(content('[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]', 'pictures'), out)
    assert.equal('unsupported_by_model', problem_of((good:gsub('pictures', 'smollm2-q4_1'))).code)
    for _, part in ipairs {
      '{"type":"image_url","image_url":{"url":"http://10.0.0.1/"}}', '{"type":"image_url","image_url":{"url":"HTTPS://x"}}',
      '{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}', '{"type":"image_url","image_url":{"url":"/etc/passwd"}}',
      '{"type":"image_url","image_url":"http://x"}', '{"type":"image_url","image_url":{"url":["http://x"]}}',
      '{"type":"image_url","image_url":["http://x"]}', '{"type":"image_url","image_url":{"url":" data:,x"}}',
      '{"type":"audio_url","audio_url":{"url":"http://x"}}', '{"type":"video_url","video_url":{"url":"http://x"}}',
      '{"type":"image","image":"http://x"}', '{"type":"image","url":"http://x"}', '{"type":"image_url","image_url":{"url":"\\u0064ata:,x"}}',
      '{"type":"image_url","image_url":{"url":"data"}}',
    } do
      assert.equal('url_not_allowed', problem_of(content('[' .. part .. ']', 'pictures')).code, part)
    end
    for _, part in ipairs {'{"type":"file","file":{"file_id":"x"}}', '{"type":"input_file"}', '{"type":"text","text":"a","file_id":"x"}'} do
      assert.equal('file_not_allowed', problem_of(content('[' .. part .. ']')).code, part)
    end
    for _, part in ipairs {'1', '"a"', '{}', '{"type":"text"}', '{"type":"text","text":1}', '{"type":"image_url"}', '{"type":"image_url","image_url":{}}',
      '{"type":"what"}', '{"type":"text","text":"a","te\\u0078t":"b"}', '{"type":"image_url","image_url":{"url":"data:,a","url":"http://x"}}'} do
      assert.equal(400, problem_of(content('[' .. part .. ']', 'pictures')).status, part)
    end
  end)

  it('pass with what clients send back', function()
    for _, message in ipairs {
      '{"role":"assistant","content":"a","annotations":[{"type":"url_citation","url_citation":{"url":"http://x"}}],"refusal":null,"audio":null}',
      '{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\\"url\\":\\"http://x\\"}"}}]}',
      '{"role":"assistant","tool_calls":[]}', '{"role":"tool","tool_call_id":"c","content":"{\\"url\\":\\"http://x\\"}"}',
      '{"role":"assistant","content":"","reasoning_content":"hm"}', '{"role":"function","name":"f","content":"x"}',
    } do
      assert.equal(chat('', '[' .. message .. ']'), (prepared(chat('', '[' .. message .. ']'))))
    end
    assert.equal(chat('', '[{"role":"system","content":"a"}]'), (prepared(chat('', '[{"role":"developer","content":"a"}]'))))
    assert.equal(chat('', '[{"role":"assistant","content":"","refusal":"no"}]'), (prepared(chat('', '[{"role":"assistant","content":null,"refusal":"no"}]'))))
    assert.equal(chat('', '[{"role":"assistant","content":"a","_reasoning":"b","reasoning_content":"b"}]'),
      (prepared(chat('', '[{"role":"assistant","content":"a","reasoning":"b","reasoning_content":"b"}]'))))
  end)

  it('must be messages', function()
    for messages, sentence in pairs {
      ['[]'] = 'messages must have at least one message.', ['"Hi"'] = 'messages must be a list of messages.',
      ['{}'] = 'messages must be a list of messages.', ['[1]'] = 'messages[0] must be an object with role and content.',
      ['[{"content":"a"}]'] = 'messages[0].role must be one of user, assistant, system, tool, developer, function.',
      ['[{"role":"wizard","content":"a"}]'] = 'messages[0].role must be one of user, assistant, system, tool, developer, function, not "wizard".',
      ['[{"role":"user","content":"a"},{"role":"user"}]'] = 'messages[1].content is missing.',
      ['[{"role":"user","content":null}]'] = 'messages[0].content is missing.',
      ['[{"role":"assistant","content":null}]'] = 'messages[0].content is missing.',
      ['[{"role":"user","content":1}]'] = 'messages[0].content must be a text or a list of parts.',
      ['[{"role":"user","content":{"text":"a"}}]'] = 'messages[0].content must be a text or a list of parts.',
      ['[{"role":"user","role":"system","content":"a"}]'] = 'messages[0]: The field role is there twice.',
    } do
      assert.equal(sentence, problem_of(chat('', messages)).message)
    end
  end)

  it("of Anthropic's API keep to blocks without addresses", function()
    local function messages(block, model)
      return '{"model":"' .. (model or 'pictures') .. '","messages":[{"role":"user","content":[' .. block .. ']}],"max_tokens":9}'
    end
    for _, block in ipairs {
      '{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}',
      '{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}',
      '{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"}]}', '{"type":"tool_result","tool_use_id":"t","content":"http://x"}',
      '{"type":"tool_use","id":"t","name":"f","input":{"url":"http://x"}}', '{"type":"thinking","thinking":"a","signature":"b"}',
    } do
      assert.equal(messages(block), (prepared(messages(block), 'messages')))
    end
    for block, code in pairs {
      ['{"type":"image","source":{"type":"url","url":"http://x"}}'] = 'url_not_allowed',
      ['{"type":"image","source":{"type":"base64","data":"AA","url":"http://x"}}'] = 'url_not_allowed',
      ['{"type":"image","source":{"type":"file","file_id":"x"}}'] = 'file_not_allowed', ['{"type":"document"}'] = 'file_not_allowed',
      ['{"type":"image","source":"x"}'] = 'invalid_value', ['{"type":"server_tool_use"}'] = 'invalid_value', ['1'] = 'invalid_value',
      ['{"type":"tool_result","content":[{"type":"image","source":{"type":"url","url":"http://x"}}]}'] = 'url_not_allowed',
    } do
      assert.equal(code, problem_of(messages(block), 'messages').code, block)
    end
    assert.equal('unsupported_by_model',
      problem_of(messages('{"type":"image","source":{"type":"base64","data":"AA"}}', 'default'), 'messages').code)
    local base = '{"model":"pictures","messages":[{"role":"user","content":"a"}],'
    for _, tool in ipairs {'{"type":"web_search_20250305","name":"web_search"}', '{"name":"web_search"}', '{"type":"bash_20250124","name":"bash"}',
      '{"type":"code_execution_20250825","name":"x","input_schema":{}}'} do
      assert.equal('tool_not_allowed', problem_of(base .. '"tools":[' .. tool .. ']}', 'messages').code)
    end
    prepared(base .. '"tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"custom","name":"g","input_schema":{}}],'
      .. '"tool_choice":{"type":"any"}}', 'messages')
    assert.equal('temperature', problem_of(base .. '"temperature":1.5}', 'messages').param)
  end)

  it('of the Responses API keep to items without addresses', function()
    local function input(item) return '{"model":"pictures","input":[' .. item .. ']}' end
    for _, item in ipairs {'{"role":"user","content":"a"}', '{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]}',
      '{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}', '{"type":"function_call_output","call_id":"c","output":"x"}',
      '{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AA"}]}'} do
      assert.equal(input(item), (prepared(input(item), 'responses')))
    end
    for item, code in pairs {
      ['{"role":"user","content":[{"type":"input_image","image_url":"http://x"}]}'] = 'url_not_allowed',
      ['{"role":"user","content":[{"type":"input_image","file_id":"x"}]}'] = 'file_not_allowed',
      ['{"role":"user","content":[{"type":"input_file","file_url":"http://x"}]}'] = 'file_not_allowed',
      ['{"type":"item_reference","id":"x"}'] = 'invalid_value', ['{"type":"web_search_call"}'] = 'invalid_value',
      ['{"role":"user","content":[{"type":"what"}]}'] = 'invalid_value',
    } do
      assert.equal(code, problem_of(input(item), 'responses').code, item)
    end
    assert.equal('tool_not_allowed', problem_of('{"input":"a","tools":[{"type":"code_interpreter"}]}', 'responses').code)
    assert.equal('background', problem_of('{"input":"a","background":true}', 'responses').param)
  end)
end)

describe('other paths', function()
  it('take a list of one prompt', function()
    assert.equal('{"model":"smollm2-q4_1","prompt":"a"}', (prepared('{"model":"smollm2-q4_1","prompt":[ "a" ]}', 'completions')))
  end)

  it('give no image a place on the server', function()
    assert.equal('{"model":"smollm2-q4_1","response_format":"B64Json","prompt":"a"}', (prepared('{"prompt":"a"}', 'images/generations')))
    assert.equal('{"model":"smollm2-q4_1","prompt":"a","response_format":"B64Json"}',
      (prepared('{"prompt":"a","response_format":"b64_json"}', 'images/generations')))
    problem_of('{"prompt":"a","response_format":"url"}', 'images/generations')
    assert.equal('{"model":"smollm2-q4_1","response_format":"wav","input":"a"}', (prepared('{"input":"a"}', 'audio/speech')))
  end)

  it('embed texts and tokens', function()
    for _, input in ipairs {'"a"', '["a","b"]', '[1,2,3]', '[[1],[2]]'} do
      local text = '{"model":"smollm2-q4_1","input":' .. input .. ',"encoding_format":"base64"}'
      assert.equal(text, (prepared(text, 'embeddings')))
    end
    problem_of('{"input":[]}', 'embeddings')
  end)
end)

describe('what is no JSON object', function()
  it('has its own sentence', function()
    for text, sentence in pairs {
      [''] = 'The body is empty: send a JSON object.', ['[]'] = 'The body must be a JSON object.', ['"a"'] = 'The body must be a JSON object.',
      ['{"a":1'] = 'The body is not valid JSON: the end is missing at byte 6.',
      ['{"model":"a","model":"b","messages":[]}'] = 'The field model is there twice.',
      ['{"mod\\u0065l":"a","messages":[]}'] = 'A field has a name with an escape in it: write it out.',
    } do
      local problem = problem_of(text)
      assert.equal(sentence, problem.message)
      assert.equal(400, problem.status)
    end
    local too_large = setmetatable({}, {__index = RULES})
    local limit = json.limits.bytes
    json.limits.bytes = 100
    local problem = problem_of(chat(',"user":"' .. ('x'):rep(100) .. '"'), nil, too_large)
    json.limits.bytes = limit
    assert.equal(413, problem.status)
  end)

  it('may begin with a byte order mark', function()
    assert.equal(chat(), (prepared('\239\187\191' .. chat())))
    assert.equal('\n ' .. chat() .. '\n', (prepared('\n ' .. chat() .. '\n')))
  end)
end)

describe('random bodies', function()
  local FIELDS = {'model', 'messages', 'prompt', 'stream', 'temperature', 'top_p', 'top_k', 'n', 'max_tokens', 'max_completion_tokens', 'stop', 'logprobs',
    'top_logprobs', 'tools', 'tool_choice', 'response_format', 'seed', 'user', 'files', 'adapter', 'unknown', 'another', 'reasoning_effort', 'input'}
  local VALUES = {'null', 'true', 'false', '1', '0', '-1', '0.5', '1e400', '"a"', '"default"', '"minimal"', '"auto"', '"required"', '[]', '{}', '["a"]', '[ "b" ]',
    '[{"role":"user","content":"Hi"}]', '[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b\\""}]}]',
    '[{"role":"user","content":[]},{"role":"assistant","content":null,"refusal":"x"}]', '{"type":"json_object"}', '{"type":"json_schema","json_schema":{"schema":{}}}',
    '[{"type":"function","function":{"name":"f"}}]', '{"type":"function","function":{"name":"f"}}', '[{"role":"user","content":[{"type":"image_url","image_url":"data:,x"}]}]'}
  local BLANKS = {'', '', ' ', '\n', '\t '}

  local function blank() return BLANKS[math.random(#BLANKS)] end

  it('are taken or refused, never broken', function()
    math.randomseed(18)
    local taken = 0
    for _ = 1, 20000 do
      local names, parts, values = {}, {}, {}
      for k = 1, math.random(0, 6) do
        local name = k == 1 and FIELDS[math.random(3)] or FIELDS[math.random(#FIELDS)]
        if k == 2 then name = 'messages' end
        if not values[name] then
          values[name] = name == 'messages' and VALUES[math.random(18, 20)] or VALUES[math.random(#VALUES)]
          names[#names + 1] = name
          parts[#parts + 1] = blank() .. '"' .. name .. '"' .. blank() .. ':' .. blank() .. values[name] .. blank()
        end
      end
      local text = blank() .. '{' .. (#parts == 0 and blank() or table.concat(parts, ',')) .. '}' .. blank()
      for _, rules in ipairs {RULES, ROLE, OLD} do
        local kind = ({CHAT, 'completions', 'responses', 'messages', 'embeddings'})[math.random(5)]
        local out, request = body.prepare(rules, kind, text)
        if out then
          taken = taken + 1
          assert.is_true(json.check(out), text .. ' -> ' .. out)
          local fields = assert(json.object(out))
          local gone = {}
          for _, name in ipairs(request.ignored or {}) do gone[name] = true end
          for _, name in ipairs(names) do
            local field = fields.at[name]
            if gone[name] then assert.is_nil(field) end
            -- What nobody looks into is what it was.
            if name == 'seed' or name == 'user' then
              if field then assert.equal(values[name], out:sub(field.from, field.to)) end
            end
          end
          for _, name in ipairs {'files', 'adapter', 'unknown', 'another', 'max_completion_tokens'} do assert.is_nil(fields.at[name]) end
        else
          assert.is_true(request.status >= 400 and request.status < 500)
        end
      end
    end
    assert.is_true(taken > 2000)
  end)
end)

describe('a body made to block a worker', function()
  local function milliseconds(text, kind)
    collectgarbage()
    local start = os.clock()
    body.prepare(RULES, kind or CHAT, text)
    return (os.clock() - start) * 1000
  end

  -- Many texts that LuaJIT's older hashes take for one another; they are never strings of their own here either.
  local function many(count, before, after)
    local pieces = {}
    before, after = before .. ('x'):rep(100), ('y'):rep(92) .. after
    for k = 1, count do
      pieces[#pieces + 1] = (k > 1 and ',' or '') .. before
      pieces[#pieces + 1] = ('%08d'):format(k)
      pieces[#pieces + 1] = after
    end
    return table.concat(pieces)
  end

  for what, made in pairs {
    ['parts'] = {'{"messages":[{"role":"user","content":[', 9999, '{"type":"text","text":"', '"}', ']}]}'},
    ['more parts than may be'] = {'{"messages":[{"role":"user","content":[', 60000, '{"type":"text","text":"', '"}', ']}]}'},
    ['names in a message'] = {'{"messages":[{"role":"user","content":"a",', 60000, '"', '":1', '}]}'},
    ['names'] = {'{"messages":[{"role":"user","content":"a"}],', 60000, '"', '":1', '}'},
    ['messages'] = {'{"messages":[', 9999, '{"role":"user","content":"', '"}', ']}'},
    ['more messages than may be'] = {'{"messages":[', 60000, '{"role":"user","content":"', '"}', ']}'},
    ['stop words'] = {'{"messages":[{"role":"user","content":"a"}],"stop":[', 60000, '"', '"', ']}'},
    ['tools'] = {'{"messages":[{"role":"user","content":"a"}],"tools":[', 60000, '"', '"', ']}'},
  } do
    it('with colliding ' .. what .. ' takes no longer than others', function()
      local text = made[1] .. many(made[2], made[3], made[4]) .. made[5]
      local took = milliseconds(text)
      assert.is_true(took < 200, took .. ' ms')
    end)
  end

  it('of lists or an image takes no longer than others', function()
    local took = milliseconds('{"messages":[' .. ('[],'):rep(49e6 / 3) .. '[]]}')
    assert.is_true(took < 200, took .. ' ms')
    took = milliseconds('{"model":"pictures","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,'
      .. ('iVBORw0KGgoA'):rep(45e6 / 12) .. '"}}]}]}')
    assert.is_true(took < 400, took .. ' ms')
  end)

  it('is checked fast where it is like most', function()
    local text = chat(',"temperature":0.7,"stream":true,"max_tokens":100', '[{"role":"system","content":"' .. ('You are a helpful assistant. '):rep(8)
      .. '"},{"role":"user","content":"' .. ('hello there '):rep(15) .. '"}]')
    for _ = 1, 2000 do body.prepare(ROLE, CHAT, text) end
    local start = os.clock()
    for _ = 1, 20000 do body.prepare(ROLE, CHAT, text) end
    local each = (os.clock() - start) / 20000 * 1e6
    assert.is_true(each < 100, 'each took ' .. each .. ' us')
  end)
end)
