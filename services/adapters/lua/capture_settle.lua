-- Settle a reservation. ARGV: prefix, capture, name, image (JSON; "": the photograph could not be stored), SHA-256, bytes.
-- Answers done, frozen or gone; with the last two the photograph is no part of the capture.
local key, name = ARGV[1] .. 'capture:' .. ARGV[2], ARGV[3]
local held = redis.call('HMGET', key, 'doc', 'deleted_at', 'frozen')
if not held[1] or held[2] then return 'gone' end
if redis.call('HGET', key .. ':pending', name) == ARGV[5] then
  redis.call('HDEL', key .. ':pending', name)
  redis.call('HINCRBY', key, 'bytes', -ARGV[6])
end
if ARGV[4] == '' or redis.call('HEXISTS', key .. ':images', name) == 1 then return 'done' end
if held[3] then return 'frozen' end
redis.call('HSET', key .. ':images', name, ARGV[4])
redis.call('HINCRBY', key, 'bytes', ARGV[6])
return 'done'
