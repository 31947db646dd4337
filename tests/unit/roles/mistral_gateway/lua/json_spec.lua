local json = require 'gateway.json'

local function text_of(text, span)
  return text:sub(span.from, span.to)
end

-- Random values as text, with blanks wherever JSON allows them.
local function random_blank()
  local blanks = {'', '', '', ' ', '\n', '\t', '\r\n', '  '}
  return blanks[math.random(#blanks)]
end

local random_text

local function random_string()
  local pieces = {'a', 'url', '\\"', '\\\\', '\\n', '\\u00e9', '\\ud83d\\ude00', '{', '}', '[', ']', ',', ':', 'ä', '/', '\\/', ' '}
  local out = {}
  for k = 1, math.random(0, 6) do out[k] = pieces[math.random(#pieces)] end
  return '"' .. table.concat(out) .. '"'
end

local function random_list(open, close, depth)
  local out = {}
  for k = 1, math.random(0, 4) do
    local name = open == '{' and '"n' .. k .. '"' .. random_blank() .. ':' or ''
    out[k] = random_blank() .. name .. random_blank() .. random_text(depth - 1) .. random_blank()
  end
  return open .. (#out == 0 and random_blank() or table.concat(out, ',')) .. close
end

function random_text(depth)
  local kind = math.random(depth > 0 and 8 or 6)
  if kind == 1 then return random_string() end
  if kind == 2 then return 'true' end
  if kind == 3 then return 'false' end
  if kind == 4 then return 'null' end
  if kind == 5 then return '-0.5e+10' end
  if kind == 6 then return tostring(math.random(0, 99)) end
  return kind == 7 and random_list('{', '}', depth) or random_list('[', ']', depth)
end

describe('json.check', function()
  it('passes what is JSON', function()
    for _, text in ipairs {
      '{}', '[]', '[[],[]]', ' {"a" : [1, -0, 0.5, 1e9, 1E-9, -1.5e+10, true, false, null, "x"]}\r\n', '"text"', '0', 'null',
      '{"a":{},"b":[{}]}', '"\\u0041\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\\\\\""', '\239\187\191{"a":1}', '123456789012345678901234567890', '1e400',
      '"\127\195\164\255"',
    } do
      assert.same({true}, {json.check(text)}, text)
    end
  end)

  it('refuses what is none', function()
    for _, text in ipairs {
      '{', '[', '}', '{]', '[}', '{"a"}', '{"a":}', '{"a":1,}', '[1,]', '[,1]', '{,}', '{"a" 1}', '{a:1}', "{'a':1}", '{"a":1 "b":2}', '[1 2]', '{}{}',
      '{} x', '01', '-', '1.', '.5', '1e', '1e+', '+1', '--1', '0x10', 'NaN', '-Infinity', 'tru', 'nul', 'falsy', 'True', '"', '"a', '"\\', '"\\"',
      '"\\x"', '"\\u12"', '"\\u12g4"', '"a\nb"', '"a\0b"', '"\\ud800"', '"\\ud800x"', '"\\ud800\\u0041"', '"\\udc00"', '[1]\0', '\0', '{"a":1}//', '[1/**/]',
      '["a":1]', '{"a":1:2}', '{1:2}', '\239\187[]', '\11[]', '[\194\160]', '[1.e5]', '[1e5.5]', '[-]', '[1-]', '[1+1]', 'nulll', 'truefalse',
    } do
      local ok, sentence = json.check(text)
      assert.is_nil(ok, text)
      assert.matches('^The body is not valid JSON: .* at byte %d+%.$', sentence)
    end
    assert.same({nil, 'The body is empty: send a JSON object.'}, {json.check(' \n')})
  end)

  it('looks at every byte of long strings', function()
    for length = 30, 80 do
      for _, bad in ipairs {'\1', '\31', '\0', '\n', '"', '\\'} do
        for _, plain in ipairs {'a', '\255', '\128', '!', '#', '[', ']', ' ', '\127'} do
          for at = length - 12, length do
            local text = '["' .. plain:rep(at - 1) .. bad .. plain:rep(length - at) .. '"]'
            assert.is_nil(json.check(text))
            assert.is_true(json.check('["' .. plain:rep(length) .. '"]'))
          end
        end
      end
    end
  end)

  it('has a sentence for each bound', function()
    local _, sentence = json.check('[1]', {bytes = 2})
    assert.equal('The body is larger than 2 bytes.', sentence)
    assert.is_true(json.check(('['):rep(100) .. (']'):rep(100)))
    _, sentence = json.check(('['):rep(101) .. (']'):rep(101))
    assert.equal('The JSON is nested more than 100 levels deep.', sentence)
    _, sentence = json.check(('{"a":'):rep(100000))
    assert.equal('The JSON is nested more than 100 levels deep.', sentence)
    assert.is_true(json.check('[1,[2]]', {values = 4}))
    _, sentence = json.check('[1,[2]]', {values = 3})
    assert.equal('The JSON has more than 3 values.', sentence)
  end)
end)

describe('json.object', function()
  it('tells where each field lies', function()
    local text = '\239\187\191 {"model" : "m" ,"n":1,"list":[1,{"x":"]}"}], "o":{"a":"\\"}"},"t":true,"f":false,"z":null}\n'
    local fields = assert(json.object(text))
    local seen = {}
    for k, field in ipairs(fields) do
      seen[k] = field.name .. ' ' .. field.kind .. ' ' .. text_of(text, field)
      assert.equal(field, fields.at[field.name])
      assert.equal('"' .. field.name, text:sub(field.name_from, field.name_from + #field.name))
    end
    assert.same({'model string "m"', 'n number 1', 'list array [1,{"x":"]}"}]', 'o object {"a":"\\"}"}', 't true true', 'f false false', 'z null null'}, seen)
    assert.equal('{', text:sub(fields.from, fields.from))
    assert.equal('}', text:sub(fields.to, fields.to))
  end)

  it('finds the end of strings with escapes', function()
    for _, literal in ipairs {'""', '"\\""', '"\\\\"', '"\\\\\\""', '"a\\\\"', '"' .. ('\\"'):rep(500) .. 'x"', '"' .. ('\\\\'):rep(500) .. '"'} do
      local text = '{"a":' .. literal .. ',"b":[' .. literal .. ',1]}'
      local fields = assert(json.object(text))
      assert.equal(literal, text_of(text, fields.at.a))
      assert.equal('[' .. literal .. ',1]', text_of(text, fields.at.b))
    end
  end)

  it('refuses names that the engine could read differently', function()
    assert.same({nil, 'The field model is there twice.'}, {json.object '{"model":"a","model":"b"}'})
    assert.same({nil, 'A field has a name with an escape in it: write it out.'}, {json.object '{"\\u006dodel":"b"}'})
    assert.same({nil, 'A field has a name of more than 64 bytes.'}, {json.object('{"' .. ('x'):rep(65) .. '":1}')})
    local many = {}
    for k = 1, 65 do many[k] = '"n' .. k .. '":1' end
    assert.same({nil, 'An object has more than 64 fields.'}, {json.object('{' .. table.concat(many, ',') .. '}')})
    assert.same({nil, 'The body must be a JSON object.'}, {json.object '[1]'})
  end)

  it('stays within the text when it is no JSON', function()
    for _, text in ipairs {'{', '{"a":"}', '{"a":[}', '{"a"}', '{"a":}', '{"a":1 2}', '{"a":1,}', '{1}', '{"a":"\\"}', '{,}', '{"a}', '{}}', '{"a":1}}'} do
      local fields, sentence = json.object(text)
      assert.is_nil(fields, text)
      assert.is_string(sentence, text)
    end
  end)
end)

describe('json.members', function()
  local known = json.known {'role', 'content', 'name', 'names'}

  it('finds the known names and skips the rest', function()
    local text = '{"x":[1,{"role":2}],"role":"user","roles":1,"rol":2,"names":3, "name" :4,"content":null}'
    local fields = assert(json.members(text, 1, #text, known))
    local seen = {}
    for k, field in ipairs(fields) do seen[k] = field.name .. '=' .. text_of(text, field) end
    assert.same({'role="user"', 'names=3', 'name=4', 'content=null'}, seen)
  end)

  it('refuses a known name that is there twice, and escapes', function()
    assert.same({nil, 'The field role is there twice.'}, {json.members('{"role":1,"role":2}', 1, 19, known)})
    assert.is_table(json.members('{"rule":1,"rule":2}', 1, 19, known))
    for _, text in ipairs {'{"rol\\u0065":1}', '{"\\u0072ole":1}', '{"role\\u0000":1}'} do
      assert.same({nil, 'A field has a name with an escape in it: write it out.'}, {json.members(text, 1, #text, known)})
    end
    local text = '{"x\\u0065":1,"x\\"":2,"\\\\":3,"role":"r","roleses\\\\":4,"xx":5,"name":6}'
    local _, sentence = json.members(text, 1, #text, known)
    assert.equal('A field has a name with an escape in it: write it out.', sentence)
    text = text:gsub('"\\\\":3', '"y\\\\":3')
    local fields = assert(json.members(text, 1, #text, known))
    assert.equal(2, #fields)
    assert.equal('"r"', text_of(text, fields.at.role))
    assert.equal('6', text_of(text, fields.at.name))
  end)
end)

describe('json.items', function()
  it('tells where each element lies', function()
    local text = '[ 1 ,"a,]",[2,[3]], {"b":[]} ,true]'
    local seen = {}
    for k, item in ipairs(assert(json.items(text, 1, #text))) do seen[k] = item.kind .. ' ' .. text_of(text, item) end
    assert.same({'number 1', 'string "a,]"', 'array [2,[3]]', 'object {"b":[]}', 'true true'}, seen)
    assert.same({}, json.items('[ ]', 1, 3))
    assert.same({nil, 'A list has more than 2 elements.'}, {json.items('[1,2,3]', 1, 7, 2)})
    for _, bad in ipairs {'[', '[1', '[,]', '[1,]', '[1 2]', '["]', '[[]', '{}', '[]]'} do assert.is_nil(json.items(bad, 1, #bad), bad) end
  end)
end)

describe('json.string and json.quote', function()
  it("are each other's reverse", function()
    local bytes = {}
    for code = 0, 255 do bytes[#bytes + 1] = string.char(code) end
    local all = table.concat(bytes)
    local literal = json.quote(all)
    assert.equal(all, json.string(literal, 1, #literal))
    assert.is_true(json.check(literal))
    assert.equal('"a/b"', json.quote 'a/b')
  end)

  it('reads escapes', function()
    local literal = '"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\/\\n\\\\\\"x"'
    assert.equal('Aé€😀/\n\\"x', json.string(literal, 1, #literal))
    assert.equal('', json.string('""', 1, 2))
    for _, bad in ipairs {'"', 'a', '"a', '"\\ud800"', '"a"b"', '"\\"'} do assert.is_nil(json.string(bad, 1, #bad), bad) end
  end)

  it('compares without making a string', function()
    assert.is_true(json.is('{"a"}', 2, 4, '"a"'))
    assert.is_false(json.is('{"a"}', 2, 4, '"b"'))
    assert.is_false(json.is('{"a"}', 2, 3, '"a"'))
  end)
end)

describe('json.splice', function()
  it('replaces, removes and puts in, and keeps every other byte', function()
    assert.equal('abc', json.splice('abc', {}))
    assert.equal('aXYc', json.splice('abc', {{2, 2, 'XY'}}))
    assert.equal('ac', json.splice('abc', {{2, 2, ''}}))
    assert.equal('aXbc', json.splice('abc', {{2, 1, 'X'}}))
    assert.equal('XabcY', json.splice('abc', {{1, 0, 'X'}, {4, 3, 'Y'}}))
    assert.has_error(function() json.splice('abc', {{2, 2, ''}, {1, 1, ''}}) end)
    assert.has_error(function() json.splice('abc', {{2, 4, ''}}) end)
  end)

  it('does the same with many edits', function()
    local text, edits, expected = ('0123456789'):rep(100), {}, {}
    for k = 0, 99 do
      edits[k + 1] = {k * 10 + 3, k * 10 + 5, ('x'):rep(k % 7)}
      expected[k + 1] = '01' .. ('x'):rep(k % 7) .. '56789'
    end
    assert.equal(table.concat(expected), json.splice(text, edits))
  end)
end)

describe('json.build', function()
  it('puts strings and spans together', function()
    local text = '{"a":{"x": "y\\n"},"b":1}'
    assert.equal('<1>{"x": "y\\n"}', json.build(text, {'<', 23, 23, '>', 6, 17}))
    assert.equal('', json.build(text, {}))
    assert.equal('', json.build(text, {5, 4}))
    assert.has_error(function() json.build(text, {24, 27}) end)
    assert.has_error(function() json.build(text, {0, 2}) end)
  end)

  it('writes a span as the inside of a string', function()
    local bytes = {}
    for code = 0, 255 do bytes[#bytes + 1] = string.char(code) end
    local text = table.concat(bytes)
    assert.equal(json.quote(text), json.build(text, {'"', json.escaped, 1, 256, '"'}))
  end)
end)

describe('json.decode and json.encode', function()
  it('tell lists, objects and null apart', function()
    local text = '{"a":[],"b":{},"c":null,"d":[1,2.5,-3e2],"e":"\\u00e4\\n","f":true,"g":9007199254740991}'
    local value = assert(json.decode(text))
    assert.equal(json.array, getmetatable(value.a))
    assert.equal(json.null, value.c)
    assert.equal('{"a":[],"b":{},"c":null,"d":[1,2.5,-300],"e":"ä\\n","f":true,"g":9007199254740991}', json.encode(value))
    assert.same({nil, 'The field a is there twice.'}, {json.decode '[{"a":1,"a":2}]'})
    assert.is_nil(json.decode '[1')
    assert.equal(0.1, json.decode(json.encode(0.1)))
    assert.has_error(function() json.encode(0 / 0) end)
  end)
end)

describe('random texts', function()
  it('are taken apart as cjson does it', function()
    local cjson = require 'cjson'
    math.randomseed(18)
    for _ = 1, 3000 do
      local text = random_list('{', '}', 4)
      assert.is_true(json.check(text), text)
      assert.same(cjson.decode(text), cjson.decode(json.encode(json.decode(text))))
      local fields, parts = json.object(text), {}
      local last = fields.from
      for k, field in ipairs(fields) do
        assert.is_nil(text:sub(last + 1, field.name_from - 1):find('[^%s,]'))
        parts[k] = json.quote(field.name) .. ':' .. text_of(text, field)
        last = field.to
      end
      assert.is_nil(text:sub(last + 1, fields.to - 1):find('%S'))
      assert.same(cjson.decode(text), cjson.decode('{' .. table.concat(parts, ',') .. '}'))
    end
  end)
end)

describe('bodies made to block a worker', function()
  local function milliseconds(f)
    collectgarbage()
    local start = os.clock()
    f()
    return (os.clock() - start) * 1000
  end

  it('take no longer than others', function()
    local pieces = {}
    for k = 1, 60000 do
      -- Pieces, since as strings of their own they would block this very test.
      pieces[#pieces + 1] = (k > 1 and ',"' or '"') .. ('x'):rep(100)
      pieces[#pieces + 1] = ('%08d'):format(k)
      pieces[#pieces + 1] = ('y'):rep(120) .. '"'
    end
    local text = '{"stop":[' .. table.concat(pieces) .. ']}'
    assert.is_true(#text > 13e6)
    assert.is_true(milliseconds(function()
      assert(json.check(text))
      local field = assert(json.object(text)).at.stop
      assert.equal(60000, #assert(json.items(text, field.from, field.to)))
    end) < 200)
    local edits = {}
    for k, item in ipairs(json.items(text, 9, #text - 1)) do edits[k] = {item.from, item.from, '"'} end
    assert.is_true(milliseconds(function() assert.equal(text, json.splice(text, edits)) end) < 200)
  end)

  it('are bounded in values, not in patience', function()
    local text = '[' .. ('[],'):rep(49e6 / 3) .. '[]]'
    assert.is_true(milliseconds(function()
      assert.same({nil, 'The JSON has more than 1000000 values.'}, {json.check(text)})
    end) < 200)
    text = '{"a":"' .. ('iVBORw0KGgoA'):rep(45e6 / 12) .. '"}'
    assert.is_true(milliseconds(function()
      assert(json.check(text))
      assert(json.object(text))
    end) < 200)
  end)
end)
