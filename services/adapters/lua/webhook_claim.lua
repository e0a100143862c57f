-- Take the job whose event is due first. ARGV: prefix, token of the taker, lease in ms.
-- The job's place in the index is the lease: when it runs out, the taker has died and the job is due again.
-- Answers {job, number of the event, event, state or "", stopped or ""}, or false when nothing is due.
local prefix, time = ARGV[1], redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id = redis.call('ZRANGEBYSCORE', prefix .. 'hooks', '-inf', now, 'LIMIT', 0, 1)[1]
if not id then return false end
local key = prefix .. 'hooks:' .. id
local number = redis.call('ZRANGE', key .. ':open', 0, 0)[1]
if not number then
  redis.call('ZREM', prefix .. 'hooks', id)
  return false
end
redis.call('ZADD', prefix .. 'hooks', now + ARGV[3], id)
redis.call('HSET', key, 'owner', ARGV[2])
local held = redis.call('HMGET', key, 'event:' .. number, 'state:' .. number, 'stopped')
return {id, number, held[1], held[2] or '', held[3] or ''}
