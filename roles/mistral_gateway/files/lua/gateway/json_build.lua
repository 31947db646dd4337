-- Texts made of parts of others. Part of gateway.json, which says how it is called.
local ffi = require 'ffi'
local format = string.format

local M = {}

local SPACE, QUOTE, BACKSLASH = 32, 34, 92
local POINTER = ffi.typeof 'const uint8_t *'

-- What is put together is copied by its place: as strings of their own the pieces would all be hashed, see at the top.
local BUFFER = ffi.typeof 'uint8_t[?]'

function M.splice(text, edits)
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
M.escaped = {}
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

function M.build(text, pieces)
  local count, size, k = #pieces, 0, 1
  while k <= count do
    local piece = pieces[k]
    if type(piece) == 'string' then
      size, k = size + #piece, k + 1
    else
      local factor = 1
      if piece == M.escaped then factor, k = 6, k + 1 end
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
    elseif piece == M.escaped then
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

return M
