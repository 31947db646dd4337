-- The engine's answer on its way to the client, piece by piece. Nothing of an answer is kept but the event that has not
-- arrived whole; a piece that needs no change is passed on as it is.
--
-- `ctx` is the request. Read here: shape (openai, ollama, anthropic), id_start (what an answer's or event's text begins with
-- once its id is unique, or nil), translator. Written here: tokens_in, tokens_out, is_exact (the engine has told them),
-- events (those that brought a token), done (the answer is complete), rest, tail, count.
local errors = require 'gateway.errors'
local find, sub, byte, match, rep = string.find, string.sub, string.byte, string.match, string.rep
local concat = table.concat

local M = {}

-- An answer's counts stand at its end, followed by a few short fields.
local TAIL = 4096
-- An event of this size is no event.
local MOST_REST = 16 * 1024 * 1024
-- The text of an error is a few lines.
local MOST_ERROR = 64 * 1024

-- Pieces of the piece that goes out; one table for all, since no filter is ever interrupted.
local out = {}

-- What follows `name`: its digits, up to the comma or the brace behind them. No pattern: LuaJIT compiles none.
local function number_after(text, name, from)
  local _, at = find(text, name, from, true)
  if not at then return nil end
  local comma, brace = find(text, ',', at + 1, true), find(text, '}', at + 1, true)
  if brace and not (comma and comma < brace) then comma = brace end
  return comma and comma - at < 20 and tonumber(sub(text, at + 1, comma - 1)) or tonumber(match(text, '^%d+', at + 1))
end

-- Where the counts stand. A search looks at each place of the first byte: JSON has a quote every few bytes, but hardly a u.
local function usage_in(text, from)
  local at = find(text, 'usage":{', from, true)
  if not at then return nil end
  if byte(text, at - 1) == 34 then return at - 1 end -- a quote
  return find(text, '"usage":{', at, true)
end

-- Reads the counts in what follows `"usage":{` at `from`.
local function read_usage(ctx, text, from)
  local tokens_out = number_after(text, '"completion_tokens":', from) or number_after(text, '"output_tokens":', from)
  local tokens_in = number_after(text, '"prompt_tokens":', from) or number_after(text, '"input_tokens":', from)
  if tokens_out and tokens_out > 0 then ctx.tokens_out = tokens_out end
  if tokens_in and tokens_in > 0 then
    ctx.tokens_in = tokens_in
    -- The streams of /v1/messages tell only the tokens of the answer.
    ctx.is_exact = true
  end
end

-- How many bytes longer a whole JSON answer becomes by its id, whatever the engine's id is: blanks make up for that one.
-- So its length is known before it is here, and it needs no chunks.
function M.growth(ctx)
  return ctx.id_start and #ctx.answer_id or 0
end

local function with_own_id(ctx, data)
  local quote = sub(data, 1, 7) == '{"id":"' and find(data, '"', 8, true)
  for i = #out, 4, -1 do out[i] = nil end
  if quote then
    out[1], out[2], out[3] = ctx.id_start, '"' .. rep(' ', quote - 8), sub(data, quote + 1)
  else
    out[1], out[2], out[3] = rep(' ', #ctx.answer_id), data, ''
  end
  return out
end

-- A whole JSON answer: its id is made unique, its counts are read. Returns what goes out instead of the piece, or nil.
function M.json(ctx, data, eof)
  local changed
  if ctx.id_start and not ctx.begun and data ~= '' then
    ctx.begun = true
    changed = with_own_id(ctx, data)
  end
  if #data >= TAIL then
    ctx.tail = sub(data, -TAIL)
  elseif data ~= '' then
    ctx.tail = ctx.tail and sub(ctx.tail .. data, -TAIL) or data
  end
  if eof then
    ctx.done = true
    local at = ctx.tail and usage_in(ctx.tail, 1)
    if at then read_usage(ctx, ctx.tail, at) end
    ctx.tail = nil
  end
  return changed
end

-- Whether the event that begins at `at` is one of an error in the form of OpenAI: {"error":
local function is_error(data, at)
  return byte(data, at + 1) == 34 and byte(data, at + 2) == 101 and byte(data, at + 3) == 114
    and sub(data, at + 1, at + 8) == '"error":'
end

-- An event with a name, as /v1/messages and /v1/responses have them.
local function named_event(ctx, data, from, to, n)
  local line = find(data, '\n', from, true)
  local name = sub(data, from + 7, line - 1)
  if name == 'content_block_delta' or name == 'response.output_text.delta' then
    ctx.events = ctx.events + 1
  elseif name == 'message_stop' or name == 'response.completed' or name == 'response.incomplete' then
    ctx.done = true
  elseif name == 'error' or name == 'response.failed' then
    ctx.done = true
    out[n + 1] = errors.stream(ctx.shape, sub(data, line + 7, to - 2), ctx)
    return n + 1
  elseif ctx.id_start and (name == 'message_start') then
    local _, at = find(data, '"message":{"id":"', line, true)
    local quote = at and at < to and find(data, '"', at + 1, true)
    if quote then
      out[n + 1], out[n + 2], out[n + 3] = sub(data, from, at), ctx.answer_id, sub(data, quote, to)
      return n + 3
    end
  end
  out[n + 1] = sub(data, from, to)
  return n + 1
end

-- An event of the engine: what goes out for data[from..to]. Returns the new length of `out`.
local function event(ctx, data, from, to, n)
  local c = byte(data, from)
  if c == 101 then return named_event(ctx, data, from, to, n) end -- e
  if c ~= 100 or sub(data, from, from + 5) ~= 'data: ' then -- d
    out[n + 1] = sub(data, from, to)
    return n + 1
  end
  c = byte(data, from + 6)
  if c == 123 then -- {
    if is_error(data, from + 6) then
      out[n + 1] = errors.stream(ctx.shape, sub(data, from + 6, to - 2), ctx)
      return n + 1
    end
    ctx.events = ctx.events + 1
    local start = ctx.event_start
    if start and sub(data, from + 6, from + 12) == '{"id":"' then
      local quote = find(data, '"', from + 13, true)
      out[n + 1], out[n + 2] = start, sub(data, quote, to)
      return n + 2
    end
  elseif c == 91 and sub(data, from + 6, from + 11) == '[DONE]' then -- [
    ctx.done = true
  else
    -- Engines up to 0.9.2 write an error as plain text, each line of it as a line of data.
    out[n + 1] = errors.stream(ctx.shape, sub(data, from + 6, to - 2), ctx)
    return n + 1
  end
  out[n + 1] = sub(data, from, to)
  return n + 1
end

-- Takes what was left of the piece before; whole events are data[1..returned]. nil if there is none.
local function whole_events(ctx, data, mark)
  local rest = ctx.rest
  if rest then
    data = rest .. data
    ctx.rest = nil
  end
  local size, width = #data, #mark
  local last = size
  if sub(data, -width) ~= mark then
    -- From the end: what is incomplete is short.
    last = nil
    for at = size - width, 1, -1 do
      if byte(data, at) == 10 and sub(data, at, at + width - 1) == mark then
        last = at + width - 1
        break
      end
    end
    if size - (last or 0) > MOST_REST then return data, nil end
    ctx.rest = sub(data, (last or 0) + 1)
  end
  return data, last
end

-- The end of a stream that the engine has not ended.
local function cut(ctx)
  ctx.done, ctx.died, ctx.rest = true, true, nil
  return errors.cut(ctx.shape, ctx)
end

local function all_events(ctx, data, ended)
  if data == '' then
    if ended and not ctx.done then return cut(ctx) end
    return nil
  end
  local last
  data, last = whole_events(ctx, data, '\n\n')
  local n = 0
  if last then
    local usage = usage_in(data, 1)
    if usage then read_usage(ctx, data, usage) end
    local from = 1
    while from <= last do
      local _, to = find(data, '\n\n', from, true)
      n = event(ctx, data, from, to, n)
      from = to + 1
    end
  end
  if ended and not ctx.done then
    n = n + 1
    out[n] = cut(ctx)
  end
  for i = #out, n + 1, -1 do out[i] = nil end
  return n == 0 and '' or out
end

-- The beginning and the rest of one event.
local pair = {}

-- A stream of events in the engine's own form. `ended`: no more comes. Returns what goes out instead, or nil for the piece.
-- One event, as an engine sends them, has a way without a loop: LuaJIT compiles what calls it only then.
function M.events(ctx, data, ended)
  local start = ctx.event_start
  if start and not ctx.rest and not ended and find(data, 'data: {"id":"', 1, true) == 1 then
    local _, last = find(data, '\n\n', 14, true)
    if last == #data then
      local quote = find(data, '"', 14, true)
      local usage = usage_in(data, quote)
      if usage then read_usage(ctx, data, usage) end
      ctx.events = ctx.events + 1
      pair[1], pair[2] = start, sub(data, quote)
      return pair
    end
  end
  return all_events(ctx, data, ended)
end

-- The same for a client of another API: line by line through its translator.
function M.translated(ctx, data, ended)
  local translator, n = ctx.translator, 0
  if data ~= '' then
    local last
    data, last = whole_events(ctx, data, '\n')
    if last then
      local usage = usage_in(data, 1)
      if usage then read_usage(ctx, data, usage) end
      local from = 1
      while from <= last do
        local to = find(data, '\n', from, true)
        if to > from then
          if byte(data, from) == 100 and byte(data, from + 6) == 123 then ctx.events = ctx.events + 1 end
          local text, done = translator:feed(sub(data, from, to - 1))
          if text and text ~= '' then
            n = n + 1
            out[n] = text
          end
          if done then ctx.done, ctx.problem, ctx.trace = true, translator.problem, translator.trace end
        end
        from = to + 1
      end
    end
  end
  if ended and not ctx.done then
    ctx.done, ctx.died = true, true
    n = n + 1
    out[n] = translator:fail('engine_died', errors.DIED)
  end
  for i = #out, n + 1, -1 do out[i] = nil end
  return n == 0 and '' or out
end

-- Keeps an answer until it is whole, then gives it to `ctx.finish`, whose text goes out.
function M.whole(ctx, data, ended)
  local parts = ctx.parts
  if not parts then
    parts = { size = 0 }
    ctx.parts = parts
  end
  if data ~= '' and parts.size <= (ctx.is_error and MOST_ERROR or MOST_REST) then
    parts[#parts + 1] = data
    parts.size = parts.size + #data
  end
  if not ended then return '' end
  local text = concat(parts)
  ctx.parts = nil
  local usage = usage_in(text, 1)
  if usage then read_usage(ctx, text, usage) end
  ctx.done = true
  return ctx.finish(ctx, text)
end

return M
