-- Take a piece of background work whose time has come. ARGV: prefix, lease (ms). Answers {member, tries}, or nothing.
local prefix = ARGV[1] .. 'localisation:'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', prefix .. 'chores', '-inf', now, 'LIMIT', 0, 1)
if #found == 0 then return {} end
redis.call('ZADD', prefix .. 'chores', now + ARGV[2], found[1])
return {found[1], redis.call('HINCRBY', prefix .. 'tries', found[1], 1)}
