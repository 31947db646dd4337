-- Requests of every API with any of their values replaced by another: taken or refused, never an error of the gateway.
local json = require 'gateway.json'
local body = require 'gateway.body'
local requests = require 'gateway.requests'

local MODELS = {{id = 'm', names = {}}, {id = 'seer', images = true}}
local QUEUE = {running = 8, waiting = 1}
local RULES = {
  body.rules {line = '0.8.1', default_model = 'm', queue = QUEUE, models = MODELS, defaults = {temperature = 0.5, max_tokens = 9}, max_tokens_limit = 50},
  body.rules {line = '0.9.2', default_model = 'm', queue = QUEUE, models = MODELS},
}
local PART = '[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]'
local TOOLS = '[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}]'
local SEEDS = {
  {'openai', 'chat/completions', '{"model":"seer","messages":[{"role":"system","content":"s"},{"role":"user","content":' .. PART
    .. '},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool",'
    .. '"tool_call_id":"c","content":[{"type":"text","text":"r"}]}],"tools":' .. TOOLS .. ',"tool_choice":{"type":"function","function":{"name":"f"}},'
    .. '"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}},"stop":["a"],"n":2,"max_completion_tokens":5,"top_k":3,"files":[]}'},
  {'openai', 'completions', '{"model":"m","prompt":["a"],"best_of":2,"n":1,"logprobs":3,"echo":true,"suffix":"x","stop":"y"}'},
  {'openai', 'embeddings', '{"model":"m","input":["a","b"],"encoding_format":"float","dimensions":3}'},
  {'openai', 'responses', '{"model":"seer","input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image",'
    .. '"image_url":"data:,x"}]},{"type":"function_call_output","call_id":"c","output":"x"}],"tools":[{"type":"function","name":"f"}],"max_output_tokens":4}'},
  {'anthropic', 'messages', '{"model":"seer","max_tokens":9,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"a"},'
    .. '{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f",'
    .. '"input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"r"}]}]}],"tools":[{"name":"f",'
    .. '"description":"d","input_schema":{}}],"tool_choice":{"type":"tool","name":"f"},"thinking":{"type":"enabled"},"stop_sequences":["a"],"stream":true}'},
  {'ollama', 'chat', '{"model":"seer","messages":[{"role":"user","content":"a","images":["iVBORw0KGgoA"]},{"role":"assistant","content":"","thinking":"t","tool_calls":'
    .. '[{"id":"x","function":{"name":"f","arguments":{"a":"b"}}}]},{"role":"tool","tool_name":"f","content":"r"}],"tools":' .. TOOLS .. ',"options":{"num_predict":3,'
    .. '"top_k":2,"temperature":1,"stop":["a"]},"format":{"type":"object"},"think":"low","stream":true,"keep_alive":0}'},
  {'ollama', 'generate', '{"model":"seer","prompt":"a","system":"s","suffix":"","images":["iVBORw0KGgoA"],"raw":false,"format":"json","options":{},"stream":false}'},
  {'ollama', 'embed', '{"model":"m","input":["a"],"truncate":true,"dimensions":3}'},
  {'ollama', 'embeddings', '{"model":"m","prompt":"a"}'},
}
local OTHERS = {'null', 'true', 'false', '0', '-1', '1.5', '1e400', '""', '"a"', '"\\u0000"', '"http://x/y"', '"text"', '"tool"', '[]', '{}', '[[]]', '[null]', '[1]', '["a"]',
  '[{}]', '{"type":"text"}', '{"type":null}', '[{"type":"text"}]', '{"url":null}', '{"a":{"b":[]}}'}

-- All spans of values in a text.
local function spans(text, from, to, kind, found)
  found[#found + 1] = {from, to}
  if kind == 'object' then
    for _, field in ipairs(json.object(text, from, to)) do spans(text, field.from, field.to, field.kind, found) end
  elseif kind == 'array' then
    for _, item in ipairs(json.items(text, from, to)) do spans(text, item.from, item.to, item.kind, found) end
  end
  return found
end

local function check(rules, shape, kind, text)
  local done, out, request = pcall(requests.prepare, rules, shape, kind, text, nil, 0, 'id')
  assert.is_true(done, tostring(out) .. ' for ' .. text)
  if not out then
    assert.is_true(request.status >= 400 and request.status < 500, text)
    return 0
  end
  if request.answer_now then
    assert.is_true(json.check(request.answer_now), text)
  else
    assert.is_true(json.check(out), text .. ' -> ' .. out)
    assert.is_nil(out:find('http://x/y', 1, true) and out:find('"url":"http', 1, true), text)
  end
  return 1
end

describe('requests', function()
  for _, seed in ipairs(SEEDS) do
    it('of ' .. seed[1] .. ' ' .. seed[2] .. ' with another value', function()
      local shape, kind, text = unpack(seed)
      for _, rules in ipairs(RULES) do
        assert.equal(1, check(rules, shape, kind, text))
        for _, span in ipairs(spans(text, 1, #text, 'object', {})) do
          for _, other in ipairs(OTHERS) do
            check(rules, shape, kind, text:sub(1, span[1] - 1) .. other .. text:sub(span[2] + 1))
          end
        end
      end
    end)

    it('of ' .. seed[1] .. ' ' .. seed[2] .. ' without a field, or cut', function()
      local shape, kind, text = unpack(seed)
      for _, rules in ipairs(RULES) do
        for name in text:gmatch '"([%w_]+)":' do check(rules, shape, kind, (text:gsub('"' .. name .. '":', '"x_' .. name .. '":', 1))) end
        for at = 0, #text - 1 do check(rules, shape, kind, text:sub(1, at)) end
      end
    end)
  end
end)
