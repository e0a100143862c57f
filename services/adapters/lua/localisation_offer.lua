-- Put a query where a localisation worker takes it, unless it could not be answered in time.
-- ARGV: prefix, query, deadline (ms from now), grace (ms), reply list, queries at most, bytes at most, bytes of this query,
-- then names and values of its parts.
-- Answers {state, ms}: accepted; no_worker; late (the wait is longer than the deadline) or full, with the wait that is expected.
local prefix = ARGV[1] .. 'localisation:'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', prefix .. 'workers', '-inf', now)
local workers = redis.call('ZRANGE', prefix .. 'workers', 0, -1)
if #workers == 0 then return {'no_worker', 0} end
local pace = 0
for _, worker in ipairs(workers) do
  pace = pace + (tonumber(redis.call('HGET', prefix .. 'pace', worker) or 0) or 0)
end
pace = pace / #workers
local waiting, bytes = 0, 0
for _, entry in ipairs(redis.call('XRANGE', prefix .. 'queries', '-', '+')) do
  local fields = entry[2]
  for at = 1, #fields, 2 do
    if fields[at] == 'bytes' then bytes = bytes + tonumber(fields[at + 1]) end
  end
  waiting = waiting + 1
end
local wait = math.ceil(waiting * pace / #workers)
if wait > tonumber(ARGV[3]) then return {'late', wait} end
if waiting >= tonumber(ARGV[6]) or (waiting > 0 and bytes + ARGV[8] > tonumber(ARGV[7])) then return {'full', wait} end
local key = prefix .. 'query:' .. ARGV[2]
for at = 9, #ARGV, 2 do redis.call('HSET', key, ARGV[at], ARGV[at + 1]) end
redis.call('PEXPIRE', key, ARGV[3] + ARGV[4])
redis.call('XADD', prefix .. 'queries', '*', 'query', ARGV[2], 'deadline', now + ARGV[3], 'reply', ARGV[5], 'bytes', ARGV[8])
return {'accepted', wait}
