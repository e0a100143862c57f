-- Begin a try under an idempotency key. ARGV: entry's key, owner, id for the job, lease in ms, kept for in ms.
-- Answers {"done", job, fingerprint, answer}, {"busy", ms until its lease ends}, or {"taken", job, fingerprint or ""}: a try that
-- died leaves the job's id, so that two tries under one key can never make two jobs.
local key, time = ARGV[1], redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', key, 'lease', 'job', 'fingerprint', 'answer')
if held[4] then return {'done', held[2], held[3], held[4]} end
if held[1] and tonumber(held[1]) > now then return {'busy', string.format('%.0f', held[1] - now)} end
local job = held[2] or ARGV[3]
redis.call('HSET', key, 'owner', ARGV[2], 'job', job, 'lease', now + ARGV[4])
redis.call('PEXPIRE', key, ARGV[5])
return {'taken', job, held[3] or ''}
