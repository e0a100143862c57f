-- Write down what came of a try. ARGV: prefix, job, token of the taker, number of the event, state (JSON),
-- when to try again (ms since 1970; "": never, the job's next event is due now), "stop" (tell this job's webhook no more) or "".
-- Answers 1, or 0 when another has taken the job meanwhile or its events are gone.
local prefix, id, number = ARGV[1], ARGV[2], ARGV[4]
local key, due = prefix .. 'hooks:' .. id, prefix .. 'hooks'
if redis.call('HGET', key, 'owner') ~= ARGV[3] then return 0 end
redis.call('HDEL', key, 'owner')
redis.call('HSET', key, 'state:' .. number, ARGV[5])
if ARGV[7] == 'stop' then redis.call('HSET', key, 'stopped', 1) end
if ARGV[6] ~= '' then
  redis.call('ZADD', due, ARGV[6], id)
  return 1
end
redis.call('ZREM', key .. ':open', number)
if redis.call('ZCARD', key .. ':open') == 0 then
  redis.call('ZREM', due, id)
else
  local time = redis.call('TIME')
  redis.call('ZADD', due, time[1] * 1000 + math.floor(time[2] / 1000), id)
end
return 1
