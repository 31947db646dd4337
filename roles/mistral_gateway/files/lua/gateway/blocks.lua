-- The messages of Anthropic's API and the input of OpenAI's Responses, on their way to an engine that has these APIs: it
-- joins texts itself, so that only what must not reach it is looked for.
local json = require 'gateway.json'
local edits = require 'gateway.edits'

local wrong, one_of = edits.wrong, edits.one_of

local M = {}

local MOST_MESSAGES, MOST_BLOCKS = 10000, 10000

local MESSAGE = json.known {'role', 'content', 'type', 'output'}
local BLOCK = json.known {'type', 'source', 'content', 'image_url', 'file_id', 'file_url', 'file_data', 'file'}
local SOURCE = json.known {'type', 'url', 'file_id'}

local function no_files(where)
  return wrong('This endpoint keeps no files: send the content itself, as text or as an image in base64.', where,
    'file_not_allowed')
end

local function no_images(work, where)
  if not work.model.images then
    return wrong('The model ' .. work.model.id .. ' takes text only, no images.', where, 'unsupported_by_model')
  end
end

local function members_of(work, item, known, where)
  if item.kind ~= 'object' then return nil, wrong(where .. ' must be an object.', where) end
  local found, sentence = json.members(work.text, item.from, item.to, known)
  if not found then return nil, wrong(where .. ': ' .. sentence, where) end
  return found.at
end

-- The source of Anthropic's image: {"type": "base64", "media_type", "data"}.
function M.check_source(work, source, where)
  where = where .. '.source'
  if not source then return wrong(where .. ' is missing.', where) end
  local at, problem = members_of(work, source, SOURCE, where)
  if problem then return problem end
  if at.file_id or edits.is(work, at.type, 'file') then return no_files(where) end
  if at.url or edits.is(work, at.type, 'url') then
    return wrong('This endpoint fetches nothing from other addresses: send the image itself, with a source of the type base64.',
      where, 'url_not_allowed')
  end
  if not edits.is(work, at.type, 'base64') then return wrong(where .. '.type must be base64.', where) end
  return no_images(work, where)
end

local check_blocks

local ANTHROPIC = {'text', 'image', 'tool_use', 'tool_result', 'thinking', 'redacted_thinking'}

local function check_block(work, item, where)
  local at, problem = members_of(work, item, BLOCK, where)
  if problem then return problem end
  local kind = one_of(work, at.type, ANTHROPIC)
  if not kind then
    if one_of(work, at.type, {'document', 'container_upload', 'search_result'}) then return no_files(where) end
    return wrong(where .. '.type must be one of ' .. table.concat(ANTHROPIC, ', ') .. '.', where .. '.type')
  end
  if kind == 'image' then
    work.has_media = true
    return M.check_source(work, at.source, where)
  end
  if kind == 'tool_result' and at.content and at.content.kind == 'array' then
    return check_blocks(work, at.content, where .. '.content', check_block)
  end
end

local RESPONSES = {'input_text', 'output_text', 'text', 'refusal', 'input_image', 'reasoning_text', 'summary_text'}

local function check_input_part(work, item, where)
  local at, problem = members_of(work, item, BLOCK, where)
  if problem then return problem end
  if at.file_id or at.file_url or at.file_data or at.file or edits.is(work, at.type, 'input_file') then return no_files(where) end
  local kind = one_of(work, at.type, RESPONSES)
  if not kind then return wrong(where .. '.type must be input_text or input_image.', where .. '.type') end
  if kind == 'input_image' then
    work.has_media = true
    if not at.image_url or edits.fetches(work, at.image_url) then return edits.not_fetched(where .. '.image_url') end
    return no_images(work, where)
  end
end

function check_blocks(work, field, where, check)
  local items, sentence = json.items(work.text, field.from, field.to, MOST_BLOCKS)
  if not items then return wrong(where .. ': ' .. sentence, where) end
  work.parts = work.parts + #items
  if work.parts > MOST_BLOCKS then return wrong('The messages have more than ' .. MOST_BLOCKS .. ' parts.', where) end
  for k = 1, #items do
    local problem = check(work, items[k], where .. '[' .. k - 1 .. ']')
    if problem then return problem end
  end
end

function M.check_messages(work, field)
  if field.kind ~= 'array' then return wrong('messages must be a list of messages.', 'messages') end
  work.input, work.parts = field, work.parts or 0
  local items, sentence = json.items(work.text, field.from, field.to, MOST_MESSAGES)
  if not items then return wrong('messages: ' .. sentence, 'messages') end
  if #items == 0 then return wrong('messages must have at least one message.', 'messages') end
  for k = 1, #items do
    local where = 'messages[' .. k - 1 .. ']'
    local at, problem = members_of(work, items[k], MESSAGE, where)
    if problem then return problem end
    if not one_of(work, at.role, {'user', 'assistant', 'system'}) then
      return wrong(where .. '.role must be user or assistant.', where .. '.role')
    end
    local content = at.content
    if not content or (content.kind ~= 'string' and content.kind ~= 'array') then
      return wrong(where .. '.content must be a text or a list of blocks.', where .. '.content')
    end
    if content.kind == 'array' then
      problem = check_blocks(work, content, where .. '.content', check_block)
      if problem then return problem end
    end
  end
end

function M.check_system(work, field)
  work.parts = work.parts or 0
  if field.kind == 'string' or field.kind == 'null' then return nil end
  if field.kind ~= 'array' then return wrong('system must be a text or a list of blocks.', 'system') end
  return check_blocks(work, field, 'system', check_block)
end

local CHOICE = json.known {'type', 'name'}

function M.check_choice(work, field)
  if field.kind == 'null' then return nil end
  local at, problem = members_of(work, field, CHOICE, 'tool_choice')
  if problem then return problem end
  if not one_of(work, at.type, {'auto', 'any', 'tool', 'none'}) then
    return wrong('tool_choice.type must be auto, any, tool or none.', 'tool_choice.type')
  end
end

local ITEMS = {'message', 'function_call', 'function_call_output', 'reasoning'}

-- The input of /v1/responses: a text, or messages, calls and their results.
function M.check_input(work, field)
  work.input, work.parts = field, 0
  if field.kind == 'string' then return nil end
  if field.kind ~= 'array' then return wrong('input must be a text or a list.', 'input') end
  local items, sentence = json.items(work.text, field.from, field.to, MOST_MESSAGES)
  if not items then return wrong('input: ' .. sentence, 'input') end
  if #items == 0 then return wrong('input must not be empty.', 'input') end
  for k = 1, #items do
    local where = 'input[' .. k - 1 .. ']'
    local at, problem = members_of(work, items[k], MESSAGE, where)
    if problem then return problem end
    if at.type and not one_of(work, at.type, ITEMS) then
      return wrong(where .. '.type must be one of ' .. table.concat(ITEMS, ', ') .. '.', where .. '.type')
    end
    local content = at.content
    if content and content.kind == 'array' then
      problem = check_blocks(work, content, where .. '.content', check_input_part)
      if problem then return problem end
    end
  end
end

return M
