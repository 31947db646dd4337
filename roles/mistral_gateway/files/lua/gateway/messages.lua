-- The messages of a chat: roles, contents, and what must not reach the engine. Contents given as lists of text parts are
-- joined to one text, since chat templates of models without images add texts to texts, and fail with a list.
local json = require 'gateway.json'
local edits = require 'gateway.edits'

local wrong, replace, one_of = edits.wrong, edits.replace, edits.one_of

local M = {}

-- Of all messages together.
local MOST_MESSAGES, MOST_PARTS = 10000, 10000

local ROLES = {'user', 'assistant', 'system', 'tool', 'developer', 'function'}
local MESSAGE = json.known {'role', 'content', 'tool_calls', 'function_call', 'refusal', 'audio', 'reasoning',
  'reasoning_content'}
local PART = json.known {'type', 'text', 'refusal', 'image_url', 'audio_url', 'video_url', 'file', 'image', 'url', 'source',
  'file_id', 'file_url', 'file_data'}
local ADDRESS = json.known {'url'}
local ADDRESSES = {'image', 'url', 'source'}
local TYPES = {'text', 'image_url', 'refusal', 'thinking', 'reasoning', 'input_audio', 'audio_url', 'video_url'}
local MEDIA = {image_url = 'images', audio_url = 'audio', video_url = 'videos'}
local FILES = {'file', 'input_file', 'document', 'container_upload'}

-- Where a message or one of its parts is, for sentences: made only if something is wrong there.
local function place(message, part)
  return 'messages[' .. message - 1 .. ']' .. (part and '.content[' .. part - 1 .. ']' or '')
end

-- What a part of an image, a sound or a film may be. The engine wants {"url": ...}; a bare string becomes one.
local function check_media(work, part, kind, where)
  local value = part.at[kind]
  if not work.model.images then
    return wrong('The model ' .. work.model.id .. ' takes text only, no ' .. MEDIA[kind] .. '.', where, 'unsupported_by_model')
  end
  if not value then return wrong(where .. ' is missing.', where) end
  if value.kind == 'string' then
    if edits.fetches(work, value) then return edits.not_fetched(where) end
    replace(work, value.from, value.from - 1, '{"url":')
    replace(work, value.to + 1, value.to, '}')
    return nil
  end
  if value.kind ~= 'object' then return edits.not_fetched(where) end
  local members, sentence = json.members(work.text, value.from, value.to, ADDRESS)
  if not members then return wrong(sentence, where) end
  if not members.at.url then return wrong(where .. '.url is missing.', where) end
  if edits.fetches(work, members.at.url) then return edits.not_fetched(where .. '.url') end
end

-- Looks at a part; returns a problem, or nil and its text (the field) if it is one of text.
local function check_part(work, item, message, number)
  local part, sentence
  if item.kind == 'object' then part, sentence = json.members(work.text, item.from, item.to, PART) end
  if not part then
    local where = place(message, number)
    return wrong(where .. (sentence and ': ' .. sentence or ' must be an object with a type.'), where)
  end
  local at = part.at
  local kind = at.type and one_of(work, at.type, TYPES) or not at.type and at.text and 'text'
  if at.file or at.file_id or at.file_url or at.file_data or one_of(work, at.type, FILES) then
    return wrong('This endpoint keeps no files: send the content itself, as text or as a data: URL.', place(message, number),
      'file_not_allowed')
  end
  for k = 1, #ADDRESSES do
    local address = at[ADDRESSES[k]]
    if address and address.kind == 'string' and edits.fetches(work, address) then
      return edits.not_fetched(place(message, number) .. '.' .. ADDRESSES[k])
    end
  end
  if kind == 'text' or kind == 'refusal' then
    local text = at[kind]
    if not text or text.kind ~= 'string' then
      return wrong(place(message, number) .. '.' .. kind .. ' must be a text.', place(message, number))
    end
    return nil, text
  end
  -- What a model has thought before is not told again.
  if kind == 'thinking' or kind == 'reasoning' then return nil, false end
  if MEDIA[kind] then
    work.has_media = true
    return check_media(work, part, kind, place(message, number) .. '.' .. kind)
  end
  local where = place(message, number) .. '.type'
  return wrong(where .. ' must be text or image_url.', where)
end

-- Makes one string of the texts, in the place of the list. false stands for a part that is left out.
local function join(work, content, texts)
  local last = content.from - 1 -- what is in the new string up to here
  local first = true
  for k = 1, #texts do
    local text = texts[k]
    if text then
      replace(work, last + 1, text.from, first and '"' or '\\n')
      first, last = false, text.to - 1
    end
  end
  replace(work, last + 1, content.to, first and '""' or '"')
end

local function check_parts(work, content, role, message)
  local items, sentence = json.items(work.text, content.from, content.to, MOST_PARTS)
  if not items then return wrong(place(message) .. '.content: ' .. sentence, place(message) .. '.content') end
  work.parts = work.parts + #items
  if work.parts > MOST_PARTS then return wrong('The messages have more than ' .. MOST_PARTS .. ' parts.', 'messages') end
  local texts, is_text = {}, true
  for k = 1, #items do
    local problem, text = check_part(work, items[k], message, k)
    if problem then return problem end
    if text == nil then is_text = false end
    texts[k] = text
  end
  if not is_text and role ~= 'user' then
    return wrong(place(message) .. ".content: only the user's messages can have images.", place(message) .. '.content')
  end
  if is_text and not (work.model.images and role == 'user') then join(work, content, texts) end
end

local function check_content(work, at, role, message)
  local content = at.content
  if not content or content.kind == 'null' then
    local said = at.refusal and at.refusal.kind == 'string' or at.function_call or at.audio
    if role == 'assistant' and (at.tool_calls and at.tool_calls.kind == 'array' or said) then
      if content and not at.tool_calls then replace(work, content.from, content.to, '""') end
      return nil
    end
    return wrong(place(message) .. '.content is missing.', place(message) .. '.content')
  end
  if content.kind == 'array' then return check_parts(work, content, role, message) end
  if content.kind ~= 'string' then
    return wrong(place(message) .. '.content must be a text or a list of parts.', place(message) .. '.content')
  end
end

local function check_message(work, item, number)
  local message, sentence
  if item.kind == 'object' then message, sentence = json.members(work.text, item.from, item.to, MESSAGE) end
  if not message then
    local where = place(number)
    return wrong(where .. (sentence and ': ' .. sentence or ' must be an object with role and content.'), where)
  end
  local at = message.at
  local role = one_of(work, at.role, ROLES)
  if not role then
    local where = place(number) .. '.role'
    return wrong(where .. ' must be one of ' .. table.concat(ROLES, ', ')
      .. (at.role and at.role.kind == 'string' and ', not ' .. edits.shown(work, at.role) or '') .. '.', where)
  end
  -- OpenAI's newer word for the same; chat templates know the older one.
  if role == 'developer' then replace(work, at.role.from, at.role.to, '"system"') end
  -- To the engine both are one field, which is then there twice.
  if at.reasoning and at.reasoning_content then edits.rename(work, at.reasoning, '_reasoning') end
  return check_content(work, at, role, number)
end

function M.check(work, field)
  if field.kind ~= 'array' then return wrong('messages must be a list of messages.', 'messages') end
  work.input, work.parts = field, 0
  local items, sentence = json.items(work.text, field.from, field.to, MOST_MESSAGES)
  if not items then return wrong('messages: ' .. sentence, 'messages') end
  if #items == 0 then return wrong('messages must have at least one message.', 'messages') end
  for k = 1, #items do
    local problem = check_message(work, items[k], k)
    if problem then return problem end
  end
end

return M
