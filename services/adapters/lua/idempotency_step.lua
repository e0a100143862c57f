-- A step of the try that owns an idempotency key. ARGV: entry's key, owner, step, value, lease in ms, kept for in ms.
-- hold: extend the lease. bind: note the fingerprint. finish: keep the answer. release: let the next try begin at once.
-- Answers 1, or 0 when another try owns the key.
local key, step = ARGV[1], ARGV[3]
if redis.call('HGET', key, 'owner') ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if step == 'release' then
  if redis.call('HEXISTS', key, 'fingerprint') == 1 then redis.call('HSET', key, 'lease', 0) else redis.call('DEL', key) end
  return 1
end
if step == 'bind' then redis.call('HSET', key, 'fingerprint', ARGV[4]) end
if step == 'finish' then redis.call('HSET', key, 'answer', ARGV[4]) end
redis.call('HSET', key, 'lease', now + ARGV[5])
redis.call('PEXPIRE', key, ARGV[6])
return 1
