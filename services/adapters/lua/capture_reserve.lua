-- Ask for a place for a photograph before it is stored: a name belongs to the first bytes that ask for it.
-- ARGV: prefix, capture, name, SHA-256, bytes, photographs at most, bytes at most.
-- Answers reserved, same (it is there already), other (other bytes have the name), frozen, gone, too_many or too_large.
local key = ARGV[1] .. 'capture:' .. ARGV[2]
local held = redis.call('HMGET', key, 'doc', 'deleted_at', 'frozen', 'bytes')
if not held[1] or held[2] then return 'gone' end
local image = redis.call('HGET', key .. ':images', ARGV[3])
if image then return cjson.decode(image).sha256 == ARGV[4] and 'same' or 'other' end
if held[3] then return 'frozen' end
local pending = redis.call('HGET', key .. ':pending', ARGV[3])
if pending then return pending == ARGV[4] and 'reserved' or 'other' end
if redis.call('HLEN', key .. ':images') + redis.call('HLEN', key .. ':pending') >= tonumber(ARGV[6]) then return 'too_many' end
if tonumber(held[4] or 0) + ARGV[5] > tonumber(ARGV[7]) then return 'too_large' end
redis.call('HSET', key .. ':pending', ARGV[3], ARGV[4])
redis.call('HINCRBY', key, 'bytes', ARGV[5])
return 'reserved'
