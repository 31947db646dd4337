-- String literals of JSON. Part of gateway.json, which says how it is called.
local byte, sub, char, find, format = string.byte, string.sub, string.char, string.find, string.format
local concat, floor = table.concat, math.floor

local M = {}

local SPACE, QUOTE, BACKSLASH = 32, 34, 92

function M.wrong(what, at)
  return nil, 'The body is not valid JSON: ' .. what .. ' at byte ' .. at .. '.'
end

local wrong = M.wrong

local function hex(c)
  if not c then return nil end
  if c >= 48 and c <= 57 then return c - 48 end
  if c >= 97 and c <= 102 then return c - 87 end
  if c >= 65 and c <= 70 then return c - 55 end
end

-- The value of four hexadecimal digits at i, or nil.
local function hex4(text, i)
  local a, b, c, d = hex(byte(text, i)), hex(byte(text, i + 1)), hex(byte(text, i + 2)), hex(byte(text, i + 3))
  return a and b and c and d and a * 4096 + b * 256 + c * 16 + d
end

-- The last byte of the escape whose backslash is at i; nil and what is wrong with it.
local function check_escape(text, i)
  local c = byte(text, i + 1)
  if c == 117 then -- u
    local unit = hex4(text, i + 2)
    if not unit then return nil, 'a broken escape' end
    if unit < 0xD800 or unit > 0xDFFF then return i + 5 end
    local low = unit < 0xDC00 and byte(text, i + 6) == BACKSLASH and byte(text, i + 7) == 117 and hex4(text, i + 8)
    if not low or low < 0xDC00 or low > 0xDFFF then return nil, 'half of a surrogate pair' end
    return i + 11
  end
  if c == QUOTE or c == BACKSLASH or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116 then return i + 1 end
  return nil, 'a broken escape'
end

M.check_escape = check_escape

-- The closing quote of the string that opens at i; nil, what is wrong and where.
local function check_string(text, i, n)
  i = i + 1
  while i <= n do
    local c = byte(text, i)
    if c == QUOTE then return i end
    if c == BACKSLASH then
      local last, what = check_escape(text, i)
      if not last then return nil, what, i end
      i = last
    elseif c < SPACE then
      return nil, 'a control character in a string', i
    end
    i = i + 1
  end
  return nil, 'a string without an end', n
end

function M.is(text, from, to, literal)
  if to - from + 1 ~= #literal then return false end
  for k = 1, #literal do
    if byte(text, from + k - 1) ~= byte(literal, k) then return false end
  end
  return true
end

local function utf8(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64) end
  return char(0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
end

local UNESCAPED = {[34] = '"', [92] = '\\', [47] = '/', [98] = '\b', [102] = '\f', [110] = '\n', [114] = '\r', [116] = '\t'}

function M.string(text, from, to)
  if byte(text, from) ~= QUOTE or byte(text, to) ~= QUOTE or to <= from then return nil, 'A string is missing.' end
  local close, what, at = check_string(text, from, to)
  if close ~= to then return wrong(what or 'a string that ends early', at or from) end
  local i = find(text, '\\', from, true)
  if not i or i > to then return sub(text, from + 1, to - 1) end
  local out, count, first = {}, 0, from + 1
  while i and i < to do
    count = count + 1
    out[count] = sub(text, first, i - 1)
    local c = byte(text, i + 1)
    count = count + 1
    if c == 117 then
      local unit = hex4(text, i + 2)
      first = i + 6
      if unit >= 0xD800 and unit <= 0xDBFF then
        unit = 0x10000 + (unit - 0xD800) * 1024 + hex4(text, i + 8) - 0xDC00
        first = i + 12
      end
      out[count] = utf8(unit)
    else
      out[count] = UNESCAPED[c]
      first = i + 2
    end
    i = find(text, '\\', first, true)
  end
  out[count + 1] = sub(text, first, to - 1)
  return concat(out)
end

local ESCAPED = {['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t', ['\b'] = '\\b', ['\f'] = '\\f'}
for code = 0, 31 do
  local c = char(code)
  ESCAPED[c] = ESCAPED[c] or format('\\u%04x', code)
end

function M.quote(text)
  if find(text, '[%z\1-\31"\\]') then text = text:gsub('[%z\1-\31"\\]', ESCAPED) end
  return '"' .. text .. '"'
end

return M
