-- Mark a capture deleted; its photographs are removed next. ARGV: prefix, capture, tombstone kept for in ms, "expired" or "".
-- A job that has not ended keeps it; from expiry any job does that is not deleted. Answers deleted, busy or gone.
local prefix, key = ARGV[1], ARGV[1] .. 'capture:' .. ARGV[2]
if redis.call('EXISTS', key) == 0 then return 'gone' end
for _, id in ipairs(redis.call('SMEMBERS', key .. ':jobs')) do
  local status = redis.call('HGET', prefix .. 'job:' .. id, 'status')
  if ARGV[4] == 'expired' or status == 'queued' or status == 'running' or status == 'canceling' then return 'busy' end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', key, 'deleted_at', now)
redis.call('PEXPIRE', key, ARGV[3])
redis.call('PEXPIRE', key .. ':priors', ARGV[3]) -- what they were tells a repeated submission from another one
redis.call('DEL', key .. ':images', key .. ':pending')
redis.call('ZADD', prefix .. 'captures', now, ARGV[2])
return 'deleted'
