-- Lets a limited number of requests through to the engine and makes the others wait, first come, first served. Some
-- engines give a client the answer to the prompt of another client when they work on both at the same time.
--
-- Nginx's workers share the dictionary `mistral_queue`:
--   place:N    who has place N, as "pid:start of the process:id of the request"
--   wait:N     somebody waits with ticket N; it expires unless the waiting request renews it
--   ticket     the last ticket
-- Waiting requests look every POLL seconds. A place is given back in the log phase, which runs however a request ends;
-- the place of a worker that died is taken from it by the first of the waiting requests.
local dict = ngx.shared.mistral_queue
local POLL, TICKET_SECONDS, REAP_SECONDS = 0.05, 10, 1
-- An engine whose client has gone computes its current token to the end.
local GUARD_SECONDS = 1
local RETRY_SECONDS = 5

local queue = {}
-- What each request of this worker has. Not in ngx.ctx, which a redirect to the error page empties.
local held = {}

local function start_of(pid)
    local file = io.open('/proc/' .. pid .. '/stat')
    local text = file and file:read('*a')
    if file then
        file:close()
    end
    if not text then
        return nil
    end
    -- The 20th field after the name of the program, which is in parentheses and can contain blanks.
    local number = 0
    for field in text:gsub('^.*%)', ''):gmatch('%S+') do
        number = number + 1
        if number == 20 then
            return field
        end
    end
    return nil
end

local PID = ngx.worker.pid()
local OWNER = PID .. ':' .. (start_of(PID) or '') .. ':'

local function is_dead(value)
    local pid, start = value:match('^(%d+):(%d*):')
    return not pid or start_of(pid) ~= start
end

local function take(places, id)
    for number = 1, places do
        local place = 'place:' .. number
        if dict:add(place, OWNER .. id) then
            return place
        end
    end
    return nil
end

-- The number of waiting requests, and the lowest ticket.
local function waiting()
    local count, first = 0, nil
    for _, key in ipairs(dict:get_keys(0)) do
        if key:sub(1, 5) == 'wait:' then
            count = count + 1
            if not first or key < first then
                first = key
            end
        end
    end
    return count, first
end

local function reap(places)
    for number = 1, places do
        local place = 'place:' .. number
        local value = dict:get(place)
        if value and is_dead(value) then
            ngx.log(ngx.ERR, 'the worker that had ', place, ' has died')
            dict:delete(place)
        end
    end
end

-- In the form of gateway.js's errors.
local function refuse(message)
    ngx.status = 503
    ngx.header['Content-Type'] = 'application/json'
    ngx.header['Retry-After'] = RETRY_SECONDS
    ngx.say('{"error": {"message": "', message, '", "type": "server_error", "param": null, "code": "engine_busy"}}')
    ngx.exit(ngx.HTTP_OK)
    return false
end

-- Access phase: waits for a place; false if there was none, and the client has been told. A client that hangs up while it
-- waits ends this by lua_check_client_abort. That goes on to watch the client as long as the request stays in the
-- location, so the engine is asked from another one.
function queue.enter(places, length, patience)
    local id = ngx.var.request_id
    local count = waiting()
    if count == 0 then
        local place = take(places, id)
        if not place and length == 0 then
            reap(places)
            place = take(places, id)
        end
        if place then
            held[id] = {place = place}
            return true
        end
    end
    if count >= length then
        return refuse('The model server is busy, and ' .. count .. ' requests wait already. Try again later.')
    end

    local own = {ticket = string.format('wait:%015d', dict:incr('ticket', 1, 0))}
    held[id] = own
    ngx.update_time()
    local begun, reaped = ngx.now(), 0
    repeat
        dict:set(own.ticket, true, TICKET_SECONDS)
        local _, first = waiting()
        if first == own.ticket then
            own.place = take(places, id)
            if own.place then
                dict:delete(own.ticket)
                own.ticket = nil
                return true
            end
            if ngx.now() - reaped >= REAP_SECONDS then
                reap(places)
                reaped = ngx.now()
            end
        end
        ngx.sleep(POLL)
    until ngx.now() - begun >= patience
    dict:delete(own.ticket)
    held[id] = nil
    return refuse('The model server is busy: the request has waited ' .. patience .. ' seconds. Try again later.')
end

-- Log phase. `silence`: for how many seconds an engine that has not answered in time is taken to be computing still.
function queue.leave(silence)
    local id = ngx.var.request_id
    local own = held[id]
    if not own then
        return
    end
    held[id] = nil
    if own.ticket then
        dict:delete(own.ticket)
    end
    if own.place then
        local rest = 0
        if (ngx.var.upstream_status or ''):find('504', 1, true) then
            rest = silence
        elseif ngx.var.request_completion ~= 'OK' then
            rest = GUARD_SECONDS
        end
        if rest > 0 then
            dict:set(own.place, OWNER .. id, rest)
        else
            dict:delete(own.place)
        end
    end
end

package.loaded.mistral_gateway_queue = queue
return queue
