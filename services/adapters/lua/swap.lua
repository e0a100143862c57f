-- Compare-and-set of a job's record, with every index that follows from it.
-- ARGV: prefix, facts (JSON), document (JSON), event (JSON or ""), what to tell the job's webhook (JSON or "").
-- facts.expected = -1: the job must not exist yet.
-- facts.requires: the capture itself, which must be known and not deleted, or a job that must still have it.
-- facts.max_active: so many jobs of the tenant may wait or run, this one with them.
-- Answers 1 when the record was written, 0 when its version was another, -1 when the capture's photographs are not to be had,
-- -2 when the tenant has as many jobs as it may.
local prefix, facts = ARGV[1], cjson.decode(ARGV[2])
local key, id = prefix .. 'job:' .. facts.id, facts.id
local held = redis.call('HMGET', key, 'version', 'status')
if (held[1] and tonumber(held[1]) or -1) ~= facts.expected then return 0 end

if facts.max_active then
  local active = 0
  for _, status in ipairs({'queued', 'running', 'canceling'}) do
    active = active + redis.call('ZCARD', prefix .. 'jobs:' .. facts.tenant .. ':' .. status)
  end
  if active >= facts.max_active then return -2 end
end

local users = prefix .. 'capture:' .. facts.capture .. ':jobs'
if facts.requires then
  local capture = prefix .. 'capture:' .. facts.capture
  if redis.call('HEXISTS', capture, 'deleted_at') == 1 then return -1 end
  local known = redis.call('EXISTS', capture) == 1
  if facts.requires ~= facts.capture then known = redis.call('SISMEMBER', users, facts.requires) == 1 end
  if not known then return -1 end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = held[2] or ''
redis.call('HSET', key, 'doc', ARGV[3], 'version', facts.version, 'status', facts.status, 'token', facts.token)

local all = prefix .. 'jobs:' .. facts.tenant
if before ~= '' then redis.call('ZREM', all .. ':' .. before, id) end
if facts.deleted then
  redis.call('ZREM', all, id)
  redis.call('SREM', users, id)
  redis.call('ZADD', prefix .. 'purges', now, id)
else
  redis.call('SADD', users, id)
  redis.call('ZADD', all, 0, id)
  redis.call('ZADD', all .. ':' .. facts.status, 0, id)
end

if facts.status == 'queued' then
  redis.call('ZADD', prefix .. 'queued', facts.queued_ms, id)
  redis.call('ZREM', prefix .. 'sent', id)
  if facts.deadline_ms then redis.call('ZADD', prefix .. 'deadlines', facts.deadline_ms, id) end
else
  redis.call('ZREM', prefix .. 'queued', id)
  redis.call('ZREM', prefix .. 'sent', id)
  redis.call('ZREM', prefix .. 'deadlines', id)
end

if facts.lease_ms then
  redis.call('ZADD', prefix .. 'leases', now + facts.lease_ms, id)
  redis.call('DEL', prefix .. 'progress:' .. id)
elseif facts.status ~= 'running' and facts.status ~= 'canceling' then
  redis.call('ZREM', prefix .. 'leases', id)
end

if facts.expires_ms then redis.call('ZADD', prefix .. 'expiry', facts.expires_ms, id) end
redis.call('ZADD', prefix .. 'dirty', now, id)
if ARGV[4] ~= '' and before ~= facts.status then
  redis.call('XADD', prefix .. 'events:' .. id, 'MAXLEN', '~', facts.keep_events, '*', 'event', 'status', 'data', ARGV[4])
end
-- The outbox. A record that comes back into an empty Redis tells its last step again (with the same id) while that is young.
local hooks = prefix .. 'hooks:' .. id
if facts.deleted then
  redis.call('DEL', hooks, hooks .. ':open')
  redis.call('ZREM', prefix .. 'hooks', id)
elseif facts.hook and before ~= facts.status and (held[1] or now - facts.hook.at_ms <= facts.hook.max_age_ms) then
  if redis.call('HSETNX', hooks, 'event:' .. facts.hook.sequence, ARGV[5]) == 1 then
    redis.call('ZADD', hooks .. ':open', facts.hook.sequence, facts.hook.sequence)
    redis.call('ZADD', prefix .. 'hooks', 'NX', now, id)
  end
end
if facts.stray_ms then
  redis.call('ZADD', prefix .. 'strays', now + facts.stray_ms, id)
  redis.call('PEXPIRE', prefix .. 'events:' .. id, facts.keep_events_ms)
  redis.call('PEXPIRE', prefix .. 'progress:' .. id, facts.keep_events_ms)
end
return 1
