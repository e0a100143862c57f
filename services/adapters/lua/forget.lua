-- Remove every trace of a job. ARGV: prefix, id, tenant, capture.
local prefix, id, all = ARGV[1], ARGV[2], ARGV[1] .. 'jobs:' .. ARGV[3]
local status = redis.call('HGET', prefix .. 'job:' .. id, 'status')
if status then redis.call('ZREM', all .. ':' .. status, id) end
redis.call('ZREM', all, id)
redis.call('SREM', prefix .. 'capture:' .. ARGV[4] .. ':jobs', id)
for _, name in ipairs({'queued', 'sent', 'deadlines', 'leases', 'expiry', 'dirty', 'strays', 'purges', 'hooks'}) do
  redis.call('ZREM', prefix .. name, id)
end
redis.call('DEL', prefix .. 'job:' .. id, prefix .. 'progress:' .. id, prefix .. 'events:' .. id)
redis.call('DEL', prefix .. 'hooks:' .. id, prefix .. 'hooks:' .. id .. ':open')
return 1
