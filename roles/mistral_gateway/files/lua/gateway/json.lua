-- JSON by position: where the members of a text lie, so that single values are read or replaced and every other byte stays
-- as the client sent it.
--
-- A text that a client sent is never decoded into tables. Where its strings would become keys and values, a body made for it
-- (many strings with the same hash) keeps a worker busy for seconds, and numbers, empty lists and the order of fields would be
-- lost. So `check` walks the whole text once, and `object`, `items` and `members` give positions (1-based, both ends included).
--
--   from, to                 = json.span(text)                        without a byte order mark and blanks around it
--   true | nil, sentence     = json.check(text, limits)               the whole text is one valid JSON value within the limits
--   fields | nil, sentence   = json.object(text, from, to, limits)    every member of an object, names as strings
--   fields | nil, sentence   = json.members(text, from, to, known)    the members whose names are in `known`, all others skipped
--   items | nil, sentence    = json.items(text, from, to, max)        the elements of an array
--   known                    = json.known {"name", ...}               a set of names for `members`
--   string | nil, sentence   = json.string(text, from, to)            a string literal, unescaped
--   same                     = json.is(text, from, to, literal)       whether the span is this text
--   literal                  = json.quote(string)                     a string as a literal
--   out                      = json.splice(text, edits)               edits: {from, to, replacement} in order; to < from puts in
--   out                      = json.build(text, pieces)               pieces: strings; spans, as two numbers (after
--                                                                     json.escaped: as the inside of a string literal)
--   value | nil, sentence    = json.decode(text)                      small trusted texts (the plan, the engine's answers)
--   text                     = json.encode(value)                     what `decode` gives, fields in the order of their names
--
-- fields: array of {name, from, to, kind, name_from}, with `at` (by name), `from` and `to` (the braces). kind: "string",
-- "number", "object", "array", "true", "false", "null". name_from: the quote at the beginning of the name.
-- items: array of {from, to, kind}.
-- limits: bytes, depth, values (of all levels together), fields and name (bytes), of the object itself.
-- `object`, `members` and `items` expect a text that `check` has passed: they never leave its bounds, but look at structure only.
local ffi = require 'ffi'

local byte, sub, char, find, format = string.byte, string.sub, string.char, string.find, string.format
local concat, sort, floor = table.concat, table.sort, math.floor
local band, bor, bnot, bxor = bit.band, bit.bor, bit.bnot, bit.bxor

local POINTER = ffi.typeof 'const uint8_t *'

local json = {}

-- What `decode` gives for null, and the mark of arrays.
json.null = setmetatable({}, {__tostring = function() return 'null' end})
json.array = {}

local LIMITS = {bytes = 50 * 1024 * 1024, depth = 100, values = 1000000, fields = 64, name = 64}
json.limits = LIMITS

local TAB, LF, CR, SPACE = 9, 10, 13, 32
local QUOTE, BACKSLASH, COMMA, COLON = 34, 92, 44, 58
local OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY = 123, 125, 91, 93

local function wrong(what, at)
  return nil, 'The body is not valid JSON: ' .. what .. ' at byte ' .. at .. '.'
end

local function is_blank(c)
  return c == SPACE or c == LF or c == CR or c == TAB
end

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

function json.span(text)
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
-- Long strings (images) are looked at by eight bytes: whether one is a control character, a quote or a backslash, by the
-- usual way to find a zero byte in a word ("Bit Twiddling Hacks", haszero and hasless).
local WORD = ffi.typeof 'const uint64_t *'
local ONES, HIGH = 0x0101010101010101ULL, 0x8080808080808080ULL
local SPACES, QUOTES, BACKSLASHES = 0x2020202020202020ULL, 0x2222222222222222ULL, 0x5C5C5C5C5C5C5C5CULL
local LONG = 32

local function is_plain(word)
  local quotes, slashes = bxor(word, QUOTES), bxor(word, BACKSLASHES)
  local special = bor(band(word - SPACES, bnot(word)), band(quotes - ONES, bnot(quotes)), band(slashes - ONES, bnot(slashes)))
  return band(special, HIGH) == 0
end

local IS_OBJECT = ffi.new('uint8_t[?]', MAX_DEPTH + 1)

function json.check(text, limits)
  limits = limits or LIMITS
  local max_bytes, max_depth = limits.bytes or LIMITS.bytes, limits.depth or LIMITS.depth
  local max_values = limits.values or LIMITS.values
  if max_depth > MAX_DEPTH then error('a limit of depth that is not supported') end
  if #text > max_bytes then
    return nil, 'The body is larger than ' .. max_bytes .. ' bytes.'
  end
  local i, n = json.span(text)
  if i > n then return nil, 'The body is empty: send a JSON object.' end
  local depth, values, state, in_string, begin = 0, 1, VALUE, false, 0
  local bytes = ffi.cast(POINTER, text) - 1
  while i <= n do
    local c = byte(text, i)
    if in_string then
      if i - begin > LONG and i + 7 <= n and is_plain(ffi.cast(WORD, bytes + i)[0]) then
        i = i + 7
      elseif c == BACKSLASH then
        local last, what = check_escape(text, i)
        if not last then return wrong(what, i) end
        i = last
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

-- Kinds by the first byte of a value.
local KIND = {[QUOTE] = 'string', [OPEN_OBJECT] = 'object', [OPEN_ARRAY] = 'array', [116] = 'true', [102] = 'false',
  [110] = 'null', [45] = 'number'}
for c = 48, 57 do KIND[c] = 'number' end

-- A tree of bytes: known[byte of the first letter][byte of the second]….name
function json.known(names)
  local known = {}
  for _, name in ipairs(names) do
    local node = known
    for k = 1, #name do
      local c = byte(name, k)
      node[c] = node[c] or {}
      node = node[c]
    end
    node.name = name
  end
  return known
end

-- Where a walk is.
local AT_NAME, IN_NAME, AT_COLON, AT_VALUE, IN_WORD, IN_STRING, IN_CONTAINER, AT_COMMA = 1, 2, 3, 4, 5, 6, 7, 8
local NO_NODE = {}

-- One loop for objects and lists (`found` gets fields or items), without another loop in it: LuaJIT compiles no loop that
-- meets another of few rounds. A string is left with one search for its quote, or byte by byte where it has escapes.
local function walk(text, from, to, found, is_list, known, max_count, max_name)
  local at, by_tree = found.at, known ~= nil
  local i, count, depth = from + 1, 0, 0
  local state = is_list and AT_VALUE or AT_NAME
  local node, name, name_from, first, escapes, any = known or NO_NODE, '', 0, 0, false, false
  while i <= to do
    local c = byte(text, i)
    local closed = 0 -- the last byte of a value that is complete
    if escapes then
      if c == BACKSLASH then
        i = i + 1
      elseif c == QUOTE then
        escapes = false
        if state == IN_STRING then closed = i end
      end
    elseif state == IN_CONTAINER then
      if c == QUOTE then
        local quote = find(text, '"', i + 1, true)
        if not quote then return wrong('a string without an end', i) end
        if byte(text, quote - 1) == BACKSLASH then escapes = true else i = quote end
      elseif c == OPEN_OBJECT or c == OPEN_ARRAY then
        depth = depth + 1
      elseif c == CLOSE_OBJECT or c == CLOSE_ARRAY then
        depth = depth - 1
        if depth == 0 then closed = i end
      end
    elseif state == IN_NAME then
      if c == QUOTE then
        state = AT_COLON
        if by_tree then
          name = node.name or ''
        else
          if i - name_from - 1 > max_name then return nil, 'A field has a name of more than ' .. max_name .. ' bytes.' end
          name = sub(text, name_from + 1, i - 1)
        end
      elseif c == BACKSLASH then
        -- "\u006dodel" is "model" to the engine: no name is read differently here and there.
        return nil, 'A field has a name with an escape in it: write it out.'
      elseif by_tree then
        node = node[c] or NO_NODE
      end
    elseif state == IN_WORD then
      if c == COMMA or c == CLOSE_OBJECT or c == CLOSE_ARRAY or c <= SPACE then
        closed = i - 1
        i = closed
      end
    elseif is_blank(c) then
      -- Blanks mean nothing here.
    elseif state == AT_VALUE then
      if c == CLOSE_ARRAY and is_list and i == to and not any then return found end
      any, first = true, i
      if c == QUOTE then
        local quote = find(text, '"', i + 1, true)
        if not quote then return wrong('a string without an end', i) end
        state = IN_STRING
        if byte(text, quote - 1) == BACKSLASH then
          escapes = true
        else
          i, closed = quote, quote
        end
      elseif c == OPEN_OBJECT or c == OPEN_ARRAY then
        state, depth = IN_CONTAINER, 1
      elseif KIND[c] then
        state = IN_WORD
      else
        return wrong('a value is missing', i)
      end
    elseif state == AT_NAME then
      if c == QUOTE then
        any, state, name_from = true, IN_NAME, i
        if by_tree then node = known end
      elseif c == CLOSE_OBJECT and i == to and not any then
        return found
      else
        return wrong('a field name is missing', i)
      end
    elseif state == AT_COLON then
      if c ~= COLON then return wrong('a colon is missing', i) end
      state = AT_VALUE
    elseif i == to then -- after a value
      return found
    elseif c == COMMA then
      state = is_list and AT_VALUE or AT_NAME
    else
      return wrong('a comma is missing', i)
    end
    if closed > 0 then
      state = AT_COMMA
      if is_list then
        count = count + 1
        if count > max_count then return nil, 'A list has more than ' .. max_count .. ' elements.' end
        found[count] = {from = first, to = closed, kind = KIND[byte(text, first)]}
      elseif name ~= '' or not by_tree then
        count = count + 1
        if count > max_count then return nil, 'An object has more than ' .. max_count .. ' fields.' end
        if at[name] then return nil, 'The field ' .. name .. ' is there twice.' end
        local field = {name = name, from = first, to = closed, kind = KIND[byte(text, first)], name_from = name_from}
        found[count], at[name] = field, field
      end
    end
    i = i + 1
  end
  return wrong('the end is missing', to)
end

local function walk_object(text, from, to, known, max_count, max_name)
  if not from then from, to = json.span(text) end
  if byte(text, from) ~= OPEN_OBJECT or byte(text, to) ~= CLOSE_OBJECT then
    return nil, 'The body must be a JSON object.'
  end
  return walk(text, from, to, {at = {}, from = from, to = to}, false, known, max_count, max_name)
end

function json.object(text, from, to, limits)
  limits = limits or LIMITS
  return walk_object(text, from, to, nil, limits.fields or LIMITS.fields, limits.name or LIMITS.name)
end

function json.members(text, from, to, known)
  return walk_object(text, from, to, known, 1 / 0, 1 / 0)
end

function json.items(text, from, to, max)
  if byte(text, from) ~= OPEN_ARRAY or byte(text, to) ~= CLOSE_ARRAY then
    return nil, 'A list is missing.'
  end
  return walk(text, from, to, {}, true, nil, max or 1 / 0, 0)
end

function json.is(text, from, to, literal)
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

function json.string(text, from, to)
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

function json.quote(text)
  if find(text, '[%z\1-\31"\\]') then text = text:gsub('[%z\1-\31"\\]', ESCAPED) end
  return '"' .. text .. '"'
end

-- What is put together is copied by its place: as strings of their own the pieces would all be hashed, see at the top.
local BUFFER = ffi.typeof 'uint8_t[?]'

function json.splice(text, edits)
  local count = #edits
  if count == 0 then return text end
  local size, last = #text, 0
  for k = 1, count do
    local edit = edits[k]
    local from, to = edit[1], edit[2]
    if from <= last or to < from - 1 or to > #text then error('edits out of order') end
    last = to
    size = size - (to - from + 1) + #edit[3]
  end
  local source, target, place = ffi.cast(POINTER, text), BUFFER(size), 0
  last = 0
  for k = 1, count do
    local edit = edits[k]
    local kept, put = edit[1] - 1 - last, edit[3]
    ffi.copy(target + place, source + last, kept)
    ffi.copy(target + place + kept, put, #put)
    place, last = place + kept + #put, edit[2]
  end
  ffi.copy(target + place, source + last, #text - last)
  return ffi.string(target, size)
end

-- The mark before a span that `build` writes as the inside of a string literal: JSON within JSON.
json.escaped = {}
local LETTER = {[8] = 98, [9] = 116, [10] = 110, [12] = 102, [13] = 114, [34] = 34, [92] = 92}

-- Writes an escaped span at the target; returns how many bytes it took.
local function copy_escaped(target, source, length)
  local place = 0
  for k = 0, length - 1 do
    local c = source[k]
    if c ~= QUOTE and c ~= BACKSLASH and c >= SPACE then
      target[place] = c
      place = place + 1
    elseif LETTER[c] then
      target[place], target[place + 1] = BACKSLASH, LETTER[c]
      place = place + 2
    else
      ffi.copy(target + place, format('\\u%04x', c), 6)
      place = place + 6
    end
  end
  return place
end

function json.build(text, pieces)
  local count, size, k = #pieces, 0, 1
  while k <= count do
    local piece = pieces[k]
    if type(piece) == 'string' then
      size, k = size + #piece, k + 1
    else
      local factor = 1
      if piece == json.escaped then factor, k = 6, k + 1 end
      local from, to = pieces[k], pieces[k + 1]
      if from < 1 or to < from - 1 or to > #text then error('a piece that is not in the text') end
      size, k = size + factor * (to - from + 1), k + 2
    end
  end
  local source, target, place = ffi.cast(POINTER, text), BUFFER(size), 0
  k = 1
  while k <= count do
    local piece = pieces[k]
    if type(piece) == 'string' then
      ffi.copy(target + place, piece, #piece)
      place, k = place + #piece, k + 1
    elseif piece == json.escaped then
      local from, to = pieces[k + 1], pieces[k + 2]
      place, k = place + copy_escaped(target + place, source + from - 1, to - from + 1), k + 3
    else
      local length = pieces[k + 1] - piece + 1
      ffi.copy(target + place, source + piece - 1, length)
      place, k = place + length, k + 2
    end
  end
  return ffi.string(target, place)
end

local decode_span

-- The value of a span of a text that has been checked.
function decode_span(text, from, to, kind)
  if kind == 'string' then return json.string(text, from, to) end
  if kind == 'number' then return tonumber(sub(text, from, to)) end
  if kind == 'true' then return true end
  if kind == 'false' then return false end
  if kind == 'null' then return json.null end
  local value = {}
  if kind == 'array' then
    local found = json.items(text, from, to)
    for k = 1, #found do
      local item = found[k]
      value[k] = decode_span(text, item.from, item.to, item.kind)
    end
    return setmetatable(value, json.array)
  end
  local found, sentence = walk_object(text, from, to, nil, 1 / 0, 1 / 0)
  if not found then error(sentence, 0) end
  for k = 1, #found do
    local field = found[k]
    value[field.name] = decode_span(text, field.from, field.to, field.kind)
  end
  return value
end

function json.decode(text)
  local ok, sentence = json.check(text)
  if not ok then return nil, sentence end
  local from, to = json.span(text)
  local done, value = pcall(decode_span, text, from, to, KIND[byte(text, from)])
  if not done then return nil, value end
  return value
end

local encode_into

local function encode_table(value, out)
  if getmetatable(value) == json.array or #value > 0 then
    out[#out + 1] = '['
    for k = 1, #value do
      if k > 1 then out[#out + 1] = ',' end
      encode_into(value[k], out)
    end
    out[#out + 1] = ']'
    return
  end
  local names = {}
  for name in pairs(value) do names[#names + 1] = name end
  sort(names)
  out[#out + 1] = '{'
  for k = 1, #names do
    out[#out + 1] = (k > 1 and ',' or '') .. json.quote(names[k]) .. ':'
    encode_into(value[names[k]], out)
  end
  out[#out + 1] = '}'
end

function encode_into(value, out)
  local kind = type(value)
  if value == json.null or kind == 'nil' then
    out[#out + 1] = 'null'
  elseif kind == 'string' then
    out[#out + 1] = json.quote(value)
  elseif kind == 'number' then
    if value ~= value or value == 1 / 0 or value == -1 / 0 then error('not a number of JSON') end
    local whole = value == floor(value) and value < 1e15 and value > -1e15
    local text = format(whole and '%d' or '%.14g', value)
    if not whole and tonumber(text) ~= value then text = format('%.17g', value) end
    out[#out + 1] = text
  elseif kind == 'boolean' then
    out[#out + 1] = tostring(value)
  elseif kind == 'table' then
    encode_table(value, out)
  else
    error('no value of JSON: ' .. kind)
  end
end

function json.encode(value)
  local out = {}
  encode_into(value, out)
  return concat(out)
end

return json
