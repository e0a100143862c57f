-- Enter a file of priors that lies in the store; of two about the same thing the one with the greater id holds.
-- ARGV: prefix, capture, field, entry (JSON), bytes at most in the capture.
-- Answers {gone} or {too_large}, or {entered or late, the id that holds no more ("": none), 1 when its bytes may go}.
-- What a job may have keeps its bytes, and they count.
local key, field, entry = ARGV[1] .. 'capture:' .. ARGV[2], ARGV[3], cjson.decode(ARGV[4])
local held = redis.call('HMGET', key, 'doc', 'deleted_at', 'frozen', 'bytes')
if not held[1] or held[2] then return {'gone'} end
local free = held[3] and 0 or 1
local text = redis.call('HGET', key .. ':priors', field)
local old = text and cjson.decode(text)
if old and old.id > entry.id then return {'late', entry.id, 1} end
local change = entry.bytes - ((old and free == 1) and old.bytes or 0)
if change > 0 and tonumber(held[4] or 0) + change > tonumber(ARGV[5]) then return {'too_large'} end
redis.call('HSET', key .. ':priors', field, ARGV[4])
redis.call('HINCRBY', key, 'bytes', change)
return {'entered', old and old.id or '', free}
