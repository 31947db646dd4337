-- The recorded streams through the translators, however they arrive: as the gateway's filter feeds them.
local body = require 'gateway.body'
local requests = require 'gateway.requests'
local stream = require 'gateway.stream'
local recordings = require 'recordings'

local RULES = body.rules {line = '0.8.1', default_model = 'm', queue = {running = 8, waiting = 1}, models = {{id = 'm'}}}
local ASKED = {
  ollama = {kind = 'chat', text = '{"model":"m","messages":[{"role":"user","content":"a"}]}'},
  anthropic = {kind = 'messages', text = '{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"a"}]}'},
}

-- What comes out for pieces of a stream, in one text.
local function filtered(shape, pieces)
  local asked = ASKED[shape]
  local _, request = requests.prepare(RULES, shape, asked.kind, asked.text, nil, 1795736676, 'r1')
  local ctx = {shape = shape, id = 'r1', translator = request.translator, events = 0, tokens_in = 0, tokens_out = 0}
  local out = {}
  for k, piece in ipairs(pieces) do
    local made = stream.translated(ctx, piece, k == #pieces)
    out[k] = type(made) == 'table' and table.concat(made) or made or piece
  end
  return table.concat(out), ctx
end

local function cut(text, size)
  local pieces = {}
  for at = 1, #text, size do pieces[#pieces + 1] = text:sub(at, at + size - 1) end
  pieces[#pieces + 1] = ''
  return pieces
end

for _, folder in ipairs {'mistralrs-0.8.1', 'mistralrs-0.9.2+7'} do
  for name, recording in pairs(recordings.all(folder)) do
    if recording.events and name:match '^chat' then
      for shape in pairs(ASKED) do
        it('gives ' .. shape .. ' the same of ' .. folder .. ' ' .. name .. ' wherever it is cut', function()
          local text = table.concat(recording.events)
          local whole, ctx = filtered(shape, {text, ''})
          assert.is_true(#whole > 0)
          assert.is_nil(ctx.died)
          for _, size in ipairs {1, 2, 3, 7, 50, 3000} do assert.equal(whole, (filtered(shape, cut(text, size)))) end
          for at = 1, math.min(#text - 1, 2000) do
            assert.equal(whole, (filtered(shape, {text:sub(1, at), text:sub(at + 1), ''})))
          end
        end)

        it('ends ' .. shape .. "'s stream of " .. folder .. ' ' .. name .. ' wherever the engine stops', function()
          local text = table.concat(recording.events)
          for at = 1, math.min(#text - 20, 2000), 13 do
            local out, ctx = filtered(shape, {text:sub(1, at), ''})
            assert.is_true(ctx.done)
            assert.matches(shape == 'ollama' and '}\n$' or '}\n\n$', out)
            assert.is_truthy(out:find(shape == 'ollama' and '"error":' or 'event: error', 1, true) or out:find('"done":true', 1, true)
              or out:find('message_stop', 1, true))
          end
        end)
      end
    end
  end
end
