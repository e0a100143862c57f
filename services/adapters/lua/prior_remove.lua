-- Take a file of priors out of a capture. ARGV: prefix, capture, field.
-- Answers {gone}, or {done, the id that was there ("": none), 1 when its bytes may go}.
local key, field = ARGV[1] .. 'capture:' .. ARGV[2], ARGV[3]
local held = redis.call('HMGET', key, 'doc', 'deleted_at', 'frozen')
if not held[1] or held[2] then return {'gone'} end
local text = redis.call('HGET', key .. ':priors', field)
if not text then return {'done', '', 0} end
local old = cjson.decode(text)
redis.call('HDEL', key .. ':priors', field)
if held[3] then return {'done', old.id, 0} end
redis.call('HINCRBY', key, 'bytes', -old.bytes)
return {'done', old.id, 1}
