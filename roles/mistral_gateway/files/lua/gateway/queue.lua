-- Lets as many requests through to the engines as they work on at once, and makes a bounded number of others wait. Each key
-- has a virtual time: who has been served much comes after who has been served little, so that no key starves another.
--
-- Each process keeps its own waiting requests in order and shows the others only the first of them. The first one of all
-- processes takes the next free place. What lies in the shared dictionary:
--   place:N        a place at the engines, with the process that has it
--   process:N      the number of a process, with the process that has it
--   head:N         the order of the first waiting request of process N; expires unless it is renewed
--   waiting        how many wait, in all processes; waiting:PID: those of one
--   turn           the virtual time; turn:KEY that of a key's last request
--   number         the number of the last request that had to wait
--   pace           how long a request has a place, in seconds, on average
-- and in the second one, by process and number, the order of every waiting request, for telling them their place.
local slots = require 'gateway.slots'
local ffi = require 'gateway.ffi'
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local insert, remove = table.insert, table.remove

local M = {}

local MOST_PROCESSES = 64
-- The first waiting request looks this often for a place that another process has given back.
local POLL = 0.01
-- The others look after their place; they are woken when it is their turn.
local LOOK = 1
local HEAD_LIVES, ENTRY_LIVES, TURN_LIVES = 0.5, 3, 600

local dict, entries, pid, new_semaphore
local places, heads, length
local own_head, own_waiting
local line = {}

-- `settings`: running, waiting. `semaphore`: makes one as ngx.semaphore's new().
function M.start(shared, shared_entries, own_pid, semaphore, settings)
  dict, entries, pid, new_semaphore = shared, shared_entries, own_pid, semaphore
  places = slots.names('place:', settings.running)
  length = settings.waiting
  line = {}
  own_waiting = 'waiting:' .. pid
  heads = slots.names('head:', MOST_PROCESSES)
  M.sweep(pid)
  local process = slots.take(dict, slots.names('process:', MOST_PROCESSES), pid)
  own_head = 'head:' .. (process and process:match '%d+$' or MOST_PROCESSES)
end

-- A place without waiting, or nil.
function M.try()
  if (dict:get 'waiting' or 0) > 0 then return nil end
  return slots.take(dict, places, pid)
end

-- Seconds until one of those that have a place is likely to leave.
function M.retry_after()
  return max(1, min(300, ceil((dict:get 'pace' or 1) / #places)))
end

local function show_head()
  local first = line[1]
  if first then dict:set(own_head, first.order, HEAD_LIVES) else dict:delete(own_head) end
end

local function wake_first()
  local first = line[1]
  if first then first.semaphore:post(1) end
end

-- Gets in line: the waiting request, or nil if the line is full.
function M.join(key_name)
  if dict:incr('waiting', 1, 0) > length then
    dict:incr('waiting', -1)
    return nil
  end
  dict:incr(own_waiting, 1, 0)
  local name = 'turn:' .. key_name
  local turn = max(dict:get 'turn' or 0, dict:get(name) or 0) + 1
  dict:set(name, turn, TURN_LIVES)
  local number = dict:incr('number', 1, 0)
  -- Among those of the same turn the one that came first; the numbers begin again before they add up to a turn.
  local waiter = { order = turn + number % 1000000 * 1e-7, semaphore = new_semaphore(0), entry = pid .. ':' .. number }
  local at = #line + 1
  while at > 1 and line[at - 1].order > waiter.order do at = at - 1 end
  insert(line, at, waiter)
  entries:set(waiter.entry, waiter.order, ENTRY_LIVES)
  if at == 1 then show_head() end
  return waiter
end

local function leave_line(waiter)
  for i = 1, #line do
    if line[i] == waiter then
      remove(line, i)
      dict:incr('waiting', -1)
      dict:incr(own_waiting, -1)
      entries:delete(waiter.entry)
      if i == 1 then
        show_head()
        wake_first()
      end
      return
    end
  end
end

local function is_first_of_all(waiter)
  for i = 1, MOST_PROCESSES do
    local order = dict:get(heads[i])
    if order and order < waiter.order then return false end
  end
  return true
end

-- Takes a place if it is this one's turn.
local function take(waiter)
  show_head()
  if not is_first_of_all(waiter) then return nil end
  local place = slots.take(dict, places, pid)
  if place then
    dict:set('turn', floor(waiter.order))
    leave_line(waiter)
  end
  return place
end

-- Waits for up to about `seconds` (at least one look): the place, or nil while there is none.
function M.wait(waiter, seconds)
  entries:set(waiter.entry, waiter.order, ENTRY_LIVES)
  local left = seconds
  while true do
    local pause = LOOK
    if line[1] == waiter then
      local place = take(waiter)
      if place then return place end
      pause = POLL
    end
    if left <= 0 then return nil end
    pause = min(pause, left)
    waiter.semaphore:wait(pause)
    left = left - pause
  end
end

-- Which place in the line it has, counted from 1.
function M.position(waiter)
  local before = 0
  for _, name in ipairs(entries:get_keys(0)) do
    local order = entries:get(name)
    if order and order < waiter.order then before = before + 1 end
  end
  return before + 1
end

-- The request is gone before it had a place.
function M.abandon(waiter)
  leave_line(waiter)
end

-- Gives a place back. `seconds`: how long it was taken. `rest`: for how many seconds the engine goes on nevertheless.
function M.leave(place, seconds, rest)
  if rest and rest > 0 then
    dict:set(place, pid, rest)
  else
    slots.free(dict, places, place)
  end
  if (dict:get 'waiting' or 0) > 0 then
    local pace = dict:get 'pace' or seconds
    dict:set('pace', pace + (seconds - pace) / 8)
    wake_first()
  end
end

-- Gives back what dead processes had.
function M.sweep(own)
  for _, name in ipairs(dict:get_keys(0)) do
    local process = tonumber(name:match '^waiting:(%d+)$')
    if process and (process == own or not ffi.is_alive(process)) then
      local count = dict:get(name)
      dict:delete(name)
      if count and count > 0 then dict:incr('waiting', -count, 0) end
    end
  end
  return slots.sweep(dict, '^place:', ffi.is_alive, own) + slots.sweep(dict, '^process:', ffi.is_alive, own)
end

-- How many have a place, and how many wait.
function M.load()
  local running = 0
  for i = 1, #places do
    if dict:get(places[i]) then running = running + 1 end
  end
  return running, max(0, dict:get 'waiting' or 0)
end

return M
