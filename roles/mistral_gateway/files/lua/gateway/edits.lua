-- The work on one body: what is wrong with it, and what is changed in it. Shared by the modules that look into bodies.
--
-- A work is {text, rules, kind, model, edits, ...}: `rules` as body.rules makes them, `kind` the path below /v1/.
-- A check is a function(work, field, spec) that returns a problem, or nothing.
local json = require 'gateway.json'
local errors = require 'gateway.errors'

local sub = string.sub

local M = {}

function M.wrong(message, param, code, status)
  return errors.problem(status or 400, message, code or 'invalid_value', param)
end

-- Puts `text` in the place of a span. Edits may come in any order.
function M.replace(work, from, to, text)
  local edits = work.edits
  edits[#edits + 1] = {from, to, text}
end

-- Gives a field another name.
function M.rename(work, field, name)
  M.replace(work, field.name_from, field.name_from + #field.name + 1, '"' .. name .. '"')
end

-- The number of a field; nil if it is none, or an absurdly long one.
function M.number(work, field)
  if field.kind ~= 'number' or field.to - field.from > 40 then return nil end
  return tonumber(sub(work.text, field.from, field.to))
end

-- Whether a field is the string `text` (written without an escape).
function M.is(work, field, text)
  return field ~= nil and field.kind == 'string' and json.is(work.text, field.from + 1, field.to - 1, text)
end

-- Which of the strings a field is; nil for none of them.
function M.one_of(work, field, names)
  if not field or field.kind ~= 'string' then return nil end
  for k = 1, #names do
    if json.is(work.text, field.from + 1, field.to - 1, names[k]) then return names[k] end
  end
end

-- The text of a string, cut; for sentences.
function M.shown(work, field)
  if field.to - field.from > 100 then return sub(work.text, field.from, field.from + 60) .. '…"' end
  return sub(work.text, field.from, field.to)
end

local DATA = {'data:', 'Data:', 'DATA:'}

-- Whether the engine would fetch something for this value itself: all but a data: URL.
function M.fetches(work, field)
  if field.kind ~= 'string' then return true end
  for k = 1, #DATA do
    if field.to - field.from > 5 and json.is(work.text, field.from + 1, field.from + 5, DATA[k]) then return false end
  end
  return true
end

function M.not_fetched(param)
  return M.wrong('This endpoint fetches nothing from other addresses: send the content itself as a data: URL in ' .. param .. '.',
    param, 'url_not_allowed')
end

return M
