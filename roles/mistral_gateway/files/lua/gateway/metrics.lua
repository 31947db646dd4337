-- Figures for Prometheus. Each process adds up its own and puts them into the shared dictionary once a second: the name of
-- a series there is the line that Prometheus reads, without its number.
local format, sort, concat = string.format, table.sort, table.concat

local M = {}

local BOUNDS = { 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300 }
-- A label for each key up to so many keys: above that a scrape holds up other requests.
local MOST_KEYS = 100
local OTHER = 'other'

local HELP = {
  mistral_gateway_requests_total = 'Requests by key, model and status.',
  mistral_gateway_tokens_total = 'Tokens by key and model; kind: in (prompt) or out (answer).',
  mistral_gateway_first_byte_seconds = 'From the arrival of a request to the first byte of its answer.',
  mistral_gateway_request_seconds = 'From the arrival of a request to the end of its answer.',
  mistral_gateway_queue_seconds = 'How long requests waited for a place at the engine; only those that had to.',
}

local by_key, labelled

-- `keys`: the keys of the plan by name.
function M.start(keys)
  by_key, labelled = {}, {}
  local count = 0
  for _ in pairs(keys) do count = count + 1 end
  if count > MOST_KEYS then return end
  for name in pairs(keys) do labelled[name] = name end
end

local function histogram(name, labels)
  return { name = name, labels = labels, sum = 0, count = 0 }
end

local function new_series(key_name, model)
  local labels = format('key="%s",model="%s"', key_name, model)
  return {
    labels = labels, statuses = {}, tokens_in = 0, tokens_out = 0,
    first_byte = histogram('mistral_gateway_first_byte_seconds', labels),
    request = histogram('mistral_gateway_request_seconds', labels),
    queue = histogram('mistral_gateway_queue_seconds', labels),
  }
end

local function bucket_of(value)
  local i = 1
  while i <= #BOUNDS and value > BOUNDS[i] do i = i + 1 end
  return i
end

local function add(to, value)
  to.sum, to.count = to.sum + value, to.count + 1
  local i = value <= BOUNDS[1] and 1 or bucket_of(value)
  to[i] = (to[i] or 0) + 1
end

-- key_name: '' without a key. first_byte, queued: seconds or nil.
function M.count(key_name, model, status, tokens_in, tokens_out, first_byte, seconds, queued)
  if key_name ~= '' then key_name = labelled[key_name] or OTHER end
  local models = by_key[key_name]
  if not models then
    models = {}
    by_key[key_name] = models
  end
  local series = models[model]
  if not series then
    series = new_series(key_name, model)
    models[model] = series
  end
  local statuses = series.statuses
  statuses[status] = (statuses[status] or 0) + 1
  if model == '' then return end
  series.tokens_in, series.tokens_out = series.tokens_in + tokens_in, series.tokens_out + tokens_out
  add(series.request, seconds)
  if first_byte then add(series.first_byte, first_byte) end
  if queued then add(series.queue, queued) end
end

local function flush_histogram(dict, from)
  if from.count == 0 then return end
  local name, labels = from.name, from.labels
  dict:incr(name .. '_sum{' .. labels .. '}', from.sum, 0)
  dict:incr(name .. '_count{' .. labels .. '}', from.count, 0)
  for i = 1, #BOUNDS do
    if from[i] then
      dict:incr(format('%s_bucket{%s,le="%s"}', name, labels, BOUNDS[i]), from[i], 0)
      from[i] = nil
    end
  end
  from[#BOUNDS + 1] = nil
  from.sum, from.count = 0, 0
end

-- Moves what this process has counted into the dictionary.
function M.flush(dict)
  for _, models in pairs(by_key) do
    for _, series in pairs(models) do
      for status, count in pairs(series.statuses) do
        dict:incr(format('mistral_gateway_requests_total{%s,status="%s"}', series.labels, status), count, 0)
        series.statuses[status] = nil
      end
      if series.tokens_in > 0 then
        dict:incr(format('mistral_gateway_tokens_total{%s,kind="in"}', series.labels), series.tokens_in, 0)
      end
      if series.tokens_out > 0 then
        dict:incr(format('mistral_gateway_tokens_total{%s,kind="out"}', series.labels), series.tokens_out, 0)
      end
      series.tokens_in, series.tokens_out = 0, 0
      flush_histogram(dict, series.first_byte)
      flush_histogram(dict, series.request)
      flush_histogram(dict, series.queue)
    end
  end
end

local function family_of(name)
  local family = name:match '^[%w_]+'
  for _, suffix in ipairs { '_bucket', '_sum', '_count' } do
    if family:sub(-#suffix) == suffix and HELP[family:sub(1, -#suffix - 1)] then
      return family:sub(1, -#suffix - 1), suffix
    end
  end
  return family
end

-- The buckets of one histogram, each with all that are below it, as Prometheus has them.
local function put_buckets(dict, family, labels, out)
  local sum = 0
  for i = 1, #BOUNDS do
    local name = format('%s_bucket{%s,le="%s"}', family, labels, BOUNDS[i])
    sum = sum + (dict:get(name) or 0)
    out[#out + 1] = name .. ' ' .. sum
  end
  local count = dict:get(family .. '_count{' .. labels .. '}') or 0
  out[#out + 1] = format('%s_bucket{%s,le="+Inf"} %d', family, labels, count)
end

-- The text of /metrics. `gauges`: lines of values that are so now, as {name, help, {labels, value}...}.
function M.render(dict, gauges)
  local names = dict:get_keys(0)
  sort(names)
  local out, last = {}, nil
  for _, name in ipairs(names) do
    local family, suffix = family_of(name)
    if family ~= last then
      last = family
      out[#out + 1] = '# HELP ' .. family .. ' ' .. (HELP[family] or '')
      out[#out + 1] = '# TYPE ' .. family .. (suffix and ' histogram' or ' counter')
    end
    if suffix ~= '_bucket' then
      out[#out + 1] = format('%s %.14g', name, dict:get(name) or 0)
      if suffix == '_count' then put_buckets(dict, family, name:match '{(.*)}$', out) end
    end
  end
  for _, gauge in ipairs(gauges) do
    out[#out + 1] = '# HELP ' .. gauge.name .. ' ' .. gauge.help
    out[#out + 1] = '# TYPE ' .. gauge.name .. ' gauge'
    for _, entry in ipairs(gauge) do
      out[#out + 1] = format('%s%s %.14g', gauge.name, entry[1] ~= '' and '{' .. entry[1] .. '}' or '', entry[2])
    end
  end
  out[#out + 1] = ''
  return concat(out, '\n')
end

return M
