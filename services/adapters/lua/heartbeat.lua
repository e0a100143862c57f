-- Extend the lease of the attempt that holds a job, and take its progress.
-- ARGV: prefix, id, token, lease in ms, progress (JSON or ""), events kept.
-- Answers the status, "lost" when the token is old, "missing" when there is no such record.
local prefix, id = ARGV[1], ARGV[2]
local held = redis.call('HMGET', prefix .. 'job:' .. id, 'status', 'token')
if not held[1] then return 'missing' end
if held[2] ~= ARGV[3] or (held[1] ~= 'running' and held[1] ~= 'canceling') then return 'lost' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', prefix .. 'leases', now + ARGV[4], id)
if ARGV[5] ~= '' then
  redis.call('SET', prefix .. 'progress:' .. id, ARGV[5])
  redis.call('XADD', prefix .. 'events:' .. id, 'MAXLEN', '~', ARGV[6], '*', 'event', 'progress', 'data', ARGV[5])
end
return held[1]
