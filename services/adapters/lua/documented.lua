-- A durable copy was written: the job is clean if no newer version has come meanwhile.
-- ARGV: prefix, id, the writer's own mark, version written. Answers 1 when clean, 0 when it must be written again.
local version = redis.call('HGET', ARGV[1] .. 'job:' .. ARGV[2], 'version')
if version and version ~= ARGV[4] then return 0 end
redis.call('ZREM', ARGV[1] .. 'dirty', ARGV[2], ARGV[3])
return 1
