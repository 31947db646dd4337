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
local json_string = require 'gateway.json_string'
local json_check = require 'gateway.json_check'
local json_walk = require 'gateway.json_walk'
local json_build = require 'gateway.json_build'
local json_value = require 'gateway.json_value'

return {
  limits = json_check.LIMITS, span = json_check.span, check = json_check.check,
  object = json_walk.object, members = json_walk.members, items = json_walk.items, known = json_walk.known,
  string = json_string.string, is = json_string.is, quote = json_string.quote,
  splice = json_build.splice, build = json_build.build, escaped = json_build.escaped,
  decode = json_value.decode, encode = json_value.encode, null = json_value.null, array = json_value.array,
}
