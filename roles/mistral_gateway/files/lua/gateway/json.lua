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
--   out                      = json.splice(text, edits)               edits: {from, to, replacement} in order; to = from - 1 puts in
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

-- Literals compared without a loop: true, false, null.
local function check_literal(text, i, c)
  local b1, b2, b3 = byte(text, i + 1), byte(text, i + 2), byte(text, i + 3)
  if c == 116 then return b1 == 114 and b2 == 117 and b3 == 101 and i + 3 or nil end
  if c == 110 then return b1 == 117 and b2 == 108 and b3 == 108 and i + 3 or nil end
  return c == 102 and b1 == 97 and b2 == 108 and b3 == 115 and byte(text, i + 4) == 101 and i + 4 or nil
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

-- Which levels are objects; one table for all calls, since none of them can be interrupted.
local is_object = {}

-- What may come next.
local VALUE, VALUE_OR_END, NAME, NAME_OR_END, NAME_COLON, AFTER = 1, 2, 3, 4, 5, 6
-- Where in a number: after the minus, a first zero, digits, the point, digits after it, the e, its sign, digits after that.
local MINUS, ZERO, WHOLE, POINT, FRACTION, E, SIGN, EXPONENT = 1, 2, 3, 4, 5, 6, 7, 8

-- The part of a number that its next byte leads to; nil where the number does not go on.
local function number_part(part, c)
  if c >= 48 and c <= 57 then
    if part == WHOLE or part == FRACTION or part == EXPONENT then return part end
    if part == MINUS then return c == 48 and ZERO or WHOLE end
    if part == POINT then return FRACTION end
    if part == E or part == SIGN then return EXPONENT end
    return nil
  end
  if c == 46 then return (part == ZERO or part == WHOLE) and POINT or nil end
  if c == 101 or c == 69 then return (part == ZERO or part == WHOLE or part == FRACTION) and E or nil end
  if c == 43 or c == 45 then return part == E and SIGN or nil end
end

local function number_ends(part)
  return part == ZERO or part == WHOLE or part == FRACTION or part == EXPONENT
end

-- One loop without another in it: LuaJIT compiles no loop that begins with another of few rounds.
function json.check(text, limits)
  limits = limits or LIMITS
  local max_bytes, max_depth = limits.bytes or LIMITS.bytes, limits.depth or LIMITS.depth
  local max_values = limits.values or LIMITS.values
  if #text > max_bytes then
    return nil, 'The body is larger than ' .. max_bytes .. ' bytes.'
  end
  local i, n = json.span(text)
  if i > n then return nil, 'The body is empty: send a JSON object.' end
  local depth, values, state = 0, 0, VALUE
  local in_string, part = false, nil
  while i <= n do
    local c = byte(text, i)
    if in_string then
      if c == QUOTE then
        in_string = false
      elseif c == BACKSLASH then
        local last, what = check_escape(text, i)
        if not last then return wrong(what, i) end
        i = last
      elseif c < SPACE then
        return wrong('a control character in a string', i)
      end
      i = i + 1
    elseif part then
      local next_part = number_part(part, c)
      if next_part then
        i = i + 1
      elseif not number_ends(part) then
        return wrong('a broken number', i)
      end
      part = next_part
    elseif c <= SPACE then
      if not is_blank(c) then return wrong('a control character', i) end
      i = i + 1
    elseif state == AFTER then
      if depth == 0 then return wrong('more than one value', i) end
      if c == COMMA then
        state = is_object[depth] and NAME or VALUE
      elseif c == (is_object[depth] and CLOSE_OBJECT or CLOSE_ARRAY) then
        depth = depth - 1
      else
        return wrong('a comma or the end of a list or an object is missing', i)
      end
      i = i + 1
    elseif state == NAME_COLON then
      if c ~= COLON then return wrong('a colon is missing', i) end
      state = VALUE
      i = i + 1
    elseif state == NAME or state == NAME_OR_END then
      if c == QUOTE then
        in_string, state = true, NAME_COLON
      elseif c == CLOSE_OBJECT and state == NAME_OR_END then
        depth, state = depth - 1, AFTER
      else
        return wrong('a field name is missing', i)
      end
      i = i + 1
    elseif c == CLOSE_ARRAY and state == VALUE_OR_END then
      depth, state = depth - 1, AFTER
      i = i + 1
    else
      values = values + 1
      if values > max_values then return nil, 'The JSON has more than ' .. max_values .. ' values.' end
      state = AFTER
      if c == QUOTE then
        in_string = true
      elseif c == OPEN_OBJECT or c == OPEN_ARRAY then
        depth = depth + 1
        if depth > max_depth then return nil, 'The JSON is nested more than ' .. max_depth .. ' levels deep.' end
        is_object[depth] = c == OPEN_OBJECT
        state = c == OPEN_OBJECT and NAME_OR_END or VALUE_OR_END
      elseif c == 45 then
        part = MINUS
      elseif c >= 48 and c <= 57 then
        part = c == 48 and ZERO or WHOLE
      else
        i = check_literal(text, i, c)
        if not i then return wrong('a value is missing', n) end
      end
      i = i + 1
    end
  end
  if in_string then return wrong('a string without an end', n) end
  if part and not number_ends(part) then return wrong('a broken number', n) end
  if depth > 0 or state ~= AFTER then return wrong('the end is missing', n) end
  return true
end

local function kind_of(c)
  if c == QUOTE then return 'string' end
  if c == OPEN_OBJECT then return 'object' end
  if c == OPEN_ARRAY then return 'array' end
  if c == 116 then return 'true' end
  if c == 102 then return 'false' end
  if c == 110 then return 'null' end
  if c == 45 or (c >= 48 and c <= 57) then return 'number' end
end

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

-- Where a walk is: before a name, in one, before the colon, before a value, in a value of several bytes, after it.
local BEFORE_NAME, IN_NAME, BEFORE_COLON, BEFORE_VALUE, IN_WORD, IN_STRING, IN_CONTAINER, AFTER_VALUE = 1, 2, 3, 4, 5, 6, 7, 8

-- One loop for objects and lists (`found` gets fields or items). As in `check` no loop is in it: a string is left with one
-- search for its quote, or byte by byte where it has escapes.
local function walk(text, from, to, found, is_list, known, max_count, max_name, too_many)
  local at = found.at
  local i, count, depth = from + 1, 0, 0
  local state = is_list and BEFORE_VALUE or BEFORE_NAME
  local node, name, name_from, first, kind, escapes = nil, nil, nil, nil, nil, false
  while i <= to do
    local c = byte(text, i)
    local last -- of a value that is complete
    if escapes then
      if c == BACKSLASH then
        i = i + 1
      elseif c == QUOTE then
        escapes = false
        if state == IN_STRING then last = i end
      end
    elseif state == IN_NAME then
      if c == QUOTE then
        if known then
          name = node and node.name
        else
          if i - name_from - 1 > max_name then return nil, 'A field has a name of more than ' .. max_name .. ' bytes.' end
          name = sub(text, name_from + 1, i - 1)
        end
        state = BEFORE_COLON
      elseif c == BACKSLASH then
        -- "\u006dodel" is "model" to the engine: no name is read differently here and there.
        return nil, 'A field has a name with an escape in it: write it out.'
      elseif known then
        node = node and node[c]
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
        if depth == 0 then last = i end
      end
    elseif state == IN_WORD then
      if c == COMMA or c == CLOSE_OBJECT or c == CLOSE_ARRAY or c <= SPACE then
        last = i - 1
        i = last
      end
    elseif is_blank(c) then
      -- Blanks mean nothing here.
    elseif state == BEFORE_VALUE then
      if is_list and c == CLOSE_ARRAY and i == to and count == 0 then return found end
      kind, first = kind_of(c), i
      if not kind then return wrong('a value is missing', i) end
      if c == QUOTE then
        local quote = find(text, '"', i + 1, true)
        if not quote then return wrong('a string without an end', i) end
        state = IN_STRING
        if byte(text, quote - 1) == BACKSLASH then
          escapes = true
        else
          i, last = quote, quote
        end
      elseif c == OPEN_OBJECT or c == OPEN_ARRAY then
        state, depth = IN_CONTAINER, 1
      else
        state = IN_WORD
      end
    elseif state == BEFORE_NAME then
      if c == QUOTE then
        state, name_from, node = IN_NAME, i, known
      elseif c == CLOSE_OBJECT and i == to and name_from == nil then
        return found
      else
        return wrong('a field name is missing', i)
      end
    elseif state == BEFORE_COLON then
      if c ~= COLON then return wrong('a colon is missing', i) end
      state = BEFORE_VALUE
    elseif i == to then -- after a value
      return found
    elseif c == COMMA then
      state = is_list and BEFORE_VALUE or BEFORE_NAME
    else
      return wrong('a comma is missing', i)
    end
    if last then
      if name or is_list then
        count = count + 1
        if count > max_count then return nil, too_many .. max_count .. (is_list and ' elements.' or ' fields.') end
        if is_list then
          found[count] = {from = first, to = last, kind = kind}
        else
          if at[name] then return nil, 'The field ' .. name .. ' is there twice.' end
          local field = {name = name, from = first, to = last, kind = kind, name_from = name_from}
          found[count], at[name] = field, field
        end
      end
      state = AFTER_VALUE
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
  return walk(text, from, to, {at = {}, from = from, to = to}, false, known, max_count, max_name, 'An object has more than ')
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
  return walk(text, from, to, {}, true, nil, max or 1 / 0, 0, 'A list has more than ')
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

-- The pieces are copied by their place: as strings of their own they would all be hashed, see at the top.
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
  if count <= 8 then
    local out, n = {}, 0
    last = 0
    for k = 1, count do
      local edit = edits[k]
      out[n + 1], out[n + 2] = sub(text, last + 1, edit[1] - 1), edit[3]
      n, last = n + 2, edit[2]
    end
    out[n + 1] = sub(text, last + 1)
    return concat(out)
  end
  local source, target, place = ffi.cast('const char *', text), ffi.new('char[?]', size), 0
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
  local done, value = pcall(decode_span, text, from, to, kind_of(byte(text, from)))
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
