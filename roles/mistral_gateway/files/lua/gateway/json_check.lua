-- Whether a text is JSON, in one pass, without decoding anything. Part of gateway.json, which says how it is called.
local ffi = require 'ffi'
local plain_length = require('gateway.ffi').plain_length
local json_string = require 'gateway.json_string'

local byte, check_escape, wrong = string.byte, json_string.check_escape, json_string.wrong

local M = {}

local LIMITS = {bytes = 50 * 1024 * 1024, depth = 100, values = 1000000, fields = 64, name = 64}
M.LIMITS = LIMITS

local TAB, LF, CR, SPACE = 9, 10, 13, 32
local QUOTE, BACKSLASH, OPEN_OBJECT, CLOSE_OBJECT = 34, 92, 123, 125
local POINTER = ffi.typeof 'const uint8_t *'

function M.is_blank(c)
  return c == SPACE or c == LF or c == CR or c == TAB
end

local is_blank = M.is_blank

function M.span(text)
  local from, to = 1, #text
  if byte(text, 1) == 0xEF and byte(text, 2) == 0xBB and byte(text, 3) == 0xBF then from = 4 end
  while from <= to and is_blank(byte(text, from)) do from = from + 1 end
  while to >= from and is_blank(byte(text, to)) do to = to - 1 end
  return from, to
end

-- Outside of strings a table says what each byte leads to: LuaJIT compiles each way through a loop for itself, and with a
-- branch for each case there would be more ways than it compiles.
-- Classes of bytes: blanks, the eight structural ones, the parts of numbers, the letters of true, false and null.
local CLASS = ffi.new 'uint8_t[256]'
for k, group in ipairs {' \t\n\r', '{', '}', '[', ']', ',', ':', '"', '-', '0', '123456789', '.', 'e', 'E', '+',
  't', 'r', 'u', 'f', 'a', 'l', 's', 'n'} do
  for c in group:gmatch '.' do CLASS[byte(c)] = k end
end

-- States: what may come next. ERROR is 0, and stands wherever nothing else is said.
local VALUE, VALUE_OR_END, NAME, NAME_OR_END, BEFORE_COLON, AFTER = 1, 2, 3, 4, 5, 6
local MINUS, ZERO, WHOLE, POINT, FRACTION, EXPONENT, SIGN, POWER = 7, 8, 9, 10, 11, 12, 13, 14
local LITERALS = 15 -- and the following: within true, false and null
-- What is to be done, as the states from ACTION on.
local ACTION, STRING, NAME_STRING, OPEN, CLOSE, NEXT = 40, 40, 41, 42, 43, 44
local LEADS = ffi.new 'uint8_t[2048]' -- [state * 32 + class]

local function leads(states, bytes, to)
  for _, state in ipairs(states) do
    for c in bytes:gmatch '.' do LEADS[state * 32 + CLASS[byte(c)]] = to end
  end
end

for _, state in ipairs {VALUE, VALUE_OR_END, NAME, NAME_OR_END, BEFORE_COLON, AFTER} do leads({state}, ' ', state) end
leads({VALUE, VALUE_OR_END}, '{[', OPEN)
leads({VALUE, VALUE_OR_END}, '"', STRING)
leads({VALUE, VALUE_OR_END}, '-', MINUS)
leads({VALUE, VALUE_OR_END, MINUS}, '0', ZERO)
leads({VALUE, VALUE_OR_END, MINUS, WHOLE}, '1', WHOLE)
leads({WHOLE}, '0', WHOLE)
leads({ZERO, WHOLE}, '.', POINT)
leads({POINT, FRACTION}, '01', FRACTION)
leads({ZERO, WHOLE, FRACTION}, 'eE', EXPONENT)
leads({EXPONENT}, '+-', SIGN)
leads({EXPONENT, SIGN, POWER}, '01', POWER)
leads({ZERO, WHOLE, FRACTION, POWER}, ' ', AFTER)
leads({ZERO, WHOLE, FRACTION, POWER, AFTER}, ',', NEXT)
leads({ZERO, WHOLE, FRACTION, POWER, AFTER}, '}]', CLOSE)
leads({VALUE_OR_END}, ']', CLOSE)
leads({NAME_OR_END}, '}', CLOSE)
leads({NAME, NAME_OR_END}, '"', NAME_STRING)
leads({BEFORE_COLON}, ':', VALUE)
local literal_state = LITERALS
for _, literal in ipairs {'true', 'false', 'null'} do
  leads({VALUE, VALUE_OR_END}, literal:sub(1, 1), literal_state)
  for k = 2, #literal do
    leads({literal_state}, literal:sub(k, k), k == #literal and AFTER or literal_state + 1)
    literal_state = literal_state + 1
  end
end

local MISSING = {
  [VALUE] = 'a value is missing', [VALUE_OR_END] = 'a value is missing', [NAME] = 'a field name is missing',
  [NAME_OR_END] = 'a field name is missing', [BEFORE_COLON] = 'a colon is missing',
  [AFTER] = 'a comma or the end of a list or an object is missing',
}

-- Which levels are objects; one array for all calls, since none of them can be interrupted.
local MAX_DEPTH = 1000
-- After so many plain bytes of a string the C library looks for the next one that is not: it has to prepare for each search.
local SHORT = 8

local IS_OBJECT = ffi.new('uint8_t[?]', MAX_DEPTH + 1)

function M.check(text, limits)
  limits = limits or LIMITS
  local max_bytes, max_depth = limits.bytes or LIMITS.bytes, limits.depth or LIMITS.depth
  local max_values = limits.values or LIMITS.values
  if max_depth > MAX_DEPTH then error('a limit of depth that is not supported') end
  if #text > max_bytes then
    return nil, 'The body is larger than ' .. max_bytes .. ' bytes.'
  end
  local i, n = M.span(text)
  if i > n then return nil, 'The body is empty: send a JSON object.' end
  local depth, values, state, in_string, begin = 0, 1, VALUE, false, 0
  local bytes = ffi.cast(POINTER, text) - 1
  while i <= n do
    local c = byte(text, i)
    if in_string then
      if i - begin > SHORT and c >= SPACE and c ~= QUOTE and c ~= BACKSLASH then
        i = i + plain_length(bytes + i) - 1
      elseif c == BACKSLASH then
        local last, what = check_escape(text, i)
        if not last then return wrong(what, i) end
        i, begin = last, last
      elseif c == QUOTE then
        in_string = false
      elseif c < SPACE then
        return wrong('a control character in a string', i)
      end
    else
      local following = LEADS[state * 32 + CLASS[c]]
      if following < ACTION then
        if following == 0 then return wrong(MISSING[state] or 'a broken number or word', i) end
        state = following
      elseif following == STRING then
        in_string, state, begin = true, AFTER, i
      elseif following == NAME_STRING then
        in_string, state, begin = true, BEFORE_COLON, i
      elseif following == OPEN then
        depth, values = depth + 1, values + 1
        if depth > max_depth then return nil, 'The JSON is nested more than ' .. max_depth .. ' levels deep.' end
        if values > max_values then return nil, 'The JSON has more than ' .. max_values .. ' values.' end
        IS_OBJECT[depth] = c == OPEN_OBJECT and 1 or 0
        state = c == OPEN_OBJECT and NAME_OR_END or VALUE_OR_END
      elseif following == CLOSE then
        if depth == 0 or (c == CLOSE_OBJECT) ~= (IS_OBJECT[depth] == 1) then return wrong(MISSING[AFTER], i) end
        depth, state = depth - 1, AFTER
      else
        if depth == 0 then return wrong('more than one value', i) end
        values = values + 1
        if values > max_values then return nil, 'The JSON has more than ' .. max_values .. ' values.' end
        state = IS_OBJECT[depth] == 1 and NAME or VALUE
      end
    end
    i = i + 1
  end
  if in_string then return wrong('a string without an end', n) end
  if depth > 0 then return wrong('the end is missing', n) end
  if state ~= AFTER and LEADS[state * 32 + CLASS[SPACE]] ~= AFTER then return wrong('the end is missing', n) end
  return true
end

return M
