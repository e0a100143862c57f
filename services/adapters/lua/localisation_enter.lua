-- Enter a new record unless its tenant has as many as it may. ARGV: prefix, kind, id, tenant, document, expiry (ms), limit ('' none),
-- piece of background work ('' none), bytes that it keeps. Answers entered or full.
local prefix = ARGV[1] .. ARGV[2]
local list = prefix .. 's:' .. ARGV[4]
local known = redis.call('ZSCORE', list, ARGV[3])
if not known and ARGV[7] ~= '' and redis.call('ZCARD', list) >= tonumber(ARGV[7]) then return 'full' end
redis.call('SET', prefix .. ':' .. ARGV[3], ARGV[5])
redis.call('ZADD', list, 0, ARGV[3])
redis.call('ZADD', prefix .. 's', ARGV[6], ARGV[3])
redis.call('HSET', list .. ':bytes', ARGV[3], ARGV[9])
if ARGV[8] ~= '' then redis.call('ZADD', ARGV[1] .. 'localisation:chores', 'NX', 0, ARGV[8]) end
return 'entered'
