-- Let a capture take no more photographs. ARGV: prefix, capture. Answers 1, or 0 when it is gone.
local key = ARGV[1] .. 'capture:' .. ARGV[2]
local held = redis.call('HMGET', key, 'doc', 'deleted_at')
if not held[1] or held[2] then return 0 end
redis.call('HSET', key, 'frozen', 1)
return 1
