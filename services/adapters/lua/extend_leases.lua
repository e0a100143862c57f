-- After Redis was away nobody could be heard: give every lease at least one full period from now.
-- ARGV: prefix, lease in ms. Answers how many leases were extended.
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
local ids = redis.call('ZRANGEBYSCORE', ARGV[1] .. 'leases', '-inf', '(' .. string.format('%.0f', until_ms))
for _, id in ipairs(ids) do redis.call('ZADD', ARGV[1] .. 'leases', until_ms, id) end
return #ids
