-- Deliver an event (again), now. ARGV: prefix, job, number of the event, state (JSON).
-- Answers 1, 0 when there is no such event, -1 while the job's webhook is being told something.
local prefix, id, number = ARGV[1], ARGV[2], ARGV[3]
local key, due = prefix .. 'hooks:' .. id, prefix .. 'hooks'
if redis.call('HEXISTS', key, 'event:' .. number) == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken_until = redis.call('ZSCORE', due, id)
if redis.call('HEXISTS', key, 'owner') == 1 and taken_until and tonumber(taken_until) > now then return -1 end
redis.call('HDEL', key, 'owner', 'stopped')
redis.call('HSET', key, 'state:' .. number, ARGV[4])
redis.call('ZADD', key .. ':open', number, number)
redis.call('ZADD', due, now, id)
return 1
