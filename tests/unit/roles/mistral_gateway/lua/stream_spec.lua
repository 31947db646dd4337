local stream = require 'gateway.stream'
local recordings = require 'recordings'

-- The pieces of a text of these many bytes each.
local function cut(text, size)
  local pieces = {}
  for from = 1, #text, size do pieces[#pieces + 1] = text:sub(from, from + size - 1) end
  return pieces
end

local function request(fields)
  local ctx = { shape = 'openai', id = 'r-1', tokens_in = 0, tokens_out = 0, events = 0, is_exact = false, done = false }
  for name, value in pairs(fields or {}) do ctx[name] = value end
  if ctx.answer_id then
    ctx.id_start = '{"id":"' .. ctx.answer_id
    ctx.event_start = 'data: ' .. ctx.id_start
  end
  return ctx
end

-- What goes out when the text comes in pieces of a size. `has_died`: the engine says nothing of an end.
local function run(filter, ctx, text, size, has_died)
  local said = {}
  local pieces = cut(text, size)
  for i = 1, #pieces + 1 do
    local piece = pieces[i] or ''
    local changed = filter(ctx, piece, i > #pieces)
    if changed == nil then changed = piece end
    said[#said + 1] = type(changed) == 'table' and table.concat(changed) or changed
  end
  assert(not has_died or ctx.died)
  return table.concat(said)
end

local function event(number, text, rest)
  return 'data: {"id":"' .. number .. '","choices":[{"index":0,"delta":{"content":"' .. text .. '"}}]' .. (rest or '') .. '}\n\n'
end

local STREAM = event(7, 'caf\195\169') .. ':\n\n' .. event(7, '\240\159\152\128')
  .. event(7, '', ',"usage":{"completion_tokens":2,"prompt_tokens":43,"total_tokens":45}') .. 'data: [DONE]\n\n'

describe('stream', function()
  for _, size in ipairs { 1, 7, 50, 3000 } do
    it('gives each event its id, in pieces of ' .. size, function()
      local ctx = request { answer_id = 'chatcmpl-r-1' }
      local said = run(stream.events, ctx, STREAM, size)
      assert.equal(STREAM:gsub('"id":"7"', '"id":"chatcmpl-r-1"'), said)
      assert.same({ 43, 2, true, true }, { ctx.tokens_in, ctx.tokens_out, ctx.is_exact, ctx.done })
      assert.is_nil(ctx.died)
    end)

    it('takes the counts from usage and from nothing else, in pieces of ' .. size, function()
      local ctx = request { answer_id = 'chatcmpl-r-1' }
      local first = event(7, 'a\\"usage\\":{\\"completion_tokens\\":9', ',"old_usage":{},"message":{}')
      run(stream.events, ctx, first .. STREAM, size)
      assert.same({ 43, 2, true }, { ctx.tokens_in, ctx.tokens_out, ctx.is_exact })
    end)

    it('leaves unique ids as they are, in pieces of ' .. size, function()
      assert.equal(STREAM, run(stream.events, request(), STREAM, size))
    end)

    it('ends a stream that the engine has left, in pieces of ' .. size, function()
      local ctx = request()
      local said = run(stream.events, ctx, event(1, 'a') .. event(1, 'b') .. 'data: {"id":"1","cho', size, true)
      assert.equal(event(1, 'a') .. event(1, 'b'), said:sub(1, #event(1, 'a') * 2))
      assert.matches('"code":"engine_died"', said, 1, true)
      assert.matches('data: %[DONE%]\n\n$', said)
      assert.same({ 2, false }, { ctx.events, ctx.is_exact })
    end)

    it('turns an error in plain text into one event, in pieces of ' .. size, function()
      local said = run(stream.events, request(), event(1, 'a') .. 'data: It failed.\ndata:    0: <unknown>\n\ndata: [DONE]\n\n', size)
      assert.matches('"message":"It failed."', said, 1, true)
      assert.is_nil(said:find 'unknown')
    end)

    it('makes a whole answer as much longer as it said, in pieces of ' .. size, function()
      local ctx = request { answer_id = 'chatcmpl-r-1' }
      local text = '{"id":"12","choices":[],"usage":{"completion_tokens":8,"prompt_tokens":3,"total_tokens":11}}'
      local said = run(stream.json, ctx, text, size)
      assert.equal(#text + stream.growth(ctx), #said)
      assert.same({ 3, 8, true }, { ctx.tokens_in, ctx.tokens_out, ctx.is_exact })
      if size > 12 then
        assert.equal('{"id":"chatcmpl-r-1"  ,"choices"', said:sub(1, 32))
      end
    end)
  end

  it('reads the counts at the end of a long answer', function()
    local ctx = request()
    run(stream.json, ctx, '{"text":"' .. ('x'):rep(20000) .. '","usage":{"input_tokens":5,"output_tokens":6}}', 1000)
    assert.same({ 5, 6, true }, { ctx.tokens_in, ctx.tokens_out, ctx.is_exact })
  end)

  it('knows no counts where there are none', function()
    local ctx = request()
    run(stream.json, ctx, '{"data":[]}', 100)
    assert.same({ 0, 0, false, true }, { ctx.tokens_in, ctx.tokens_out, ctx.is_exact, ctx.done })
  end)

  it('counts the events of messages, and sees their end', function()
    local ctx = request { shape = 'anthropic', answer_id = 'msg_r-1' }
    local text = 'event: message_start\ndata: {"type":"message_start","message":{"id":"52","usage":{"input_tokens":0}}}\n\n'
      .. 'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'
      .. 'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":1}}\n\n'
      .. 'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    local said = run(stream.events, ctx, text, 40)
    assert.matches('"message":{"id":"msg_r-1"', said, 1, true)
    assert.same({ 1, 1, false, true }, { ctx.events, ctx.tokens_out, ctx.is_exact, ctx.done })
  end)

  it('hands whole lines to a translator, and lets it tell of the end', function()
    local seen = {}
    local translator = {
      feed = function(_, line) seen[#seen + 1] = line return '<' .. #line .. '>', line == 'data: [DONE]' end,
      fail = function(_, code) return '!' .. code end,
    }
    local ctx = request { translator = translator }
    run(stream.translated, ctx, event(1, 'a') .. 'data: [DONE]\n\n', 5)
    assert.same({ event(1, 'a'):sub(1, -3), 'data: [DONE]' }, seen)
    assert.equal(1, ctx.events)
    ctx = request { translator = translator }
    assert.matches('!engine_died$', run(stream.translated, ctx, event(1, 'a'), 5, true))
  end)

  it('keeps what must be read as a whole', function()
    local ctx = request { finish = function(_, text) return #text .. ' bytes' end }
    assert.equal('5000 bytes', run(stream.whole, ctx, ('x'):rep(5000), 999))
    ctx = request { finish = function(_, text) return #text .. ' bytes' end, is_error = true }
    assert.is_true(tonumber(run(stream.whole, ctx, ('x'):rep(500000), 1000):match '%d+') <= 66000)
  end)

  for _, server in ipairs { 'mistralrs-0.8.1', 'mistralrs-0.9.2+7' } do
    it('sees the end and the counts of every stream that was recorded of ' .. server, function()
      local count = 0
      for name, recorded in pairs(recordings.all(server)) do
        if recorded.events then
          count = count + 1
          local ctx = request { shape = recorded.path:find 'messages' and 'anthropic' or 'openai' }
          local text = table.concat(recorded.events)
          local said = run(stream.events, ctx, text, 100)
          assert.is_true(ctx.done, name)
          assert.is_nil(ctx.died, name)
          assert.is_nil(said:find '<unknown>', name)
          local tokens_in = tonumber(text:match '"prompt_tokens":(%d+)' or text:match '"input_tokens":([1-9]%d*)')
          assert.same({ tokens_in or 0, tokens_in ~= nil }, { ctx.tokens_in, ctx.is_exact }, name)
          local tokens_out = tonumber(text:match '"completion_tokens":(%d+)' or text:match '"output_tokens":([1-9]%d*)')
          assert.equal(tokens_out or 0, ctx.tokens_out, name)
          -- An event is a token; the last of a chat has none of its own.
          if name:find '^completions' then assert.equal(8, ctx.events, name) end
        end
      end
      assert.is_true(count >= 6)
    end)
  end
end)
