//! The scripts that write the revoked set: each is one step for everybody else, whatever it reads and writes.

/// Writes records so that each only ever grows: the instant never moves back, the expiry never comes nearer, and a
/// key that another program set without expiry keeps none. Repeating it changes nothing. Lua, because reading and
/// writing must be one step, and `EXPIRE … GT` exists only since Redis 7.
///
/// KEYS: the feed, the epoch, then the records. ARGV: which of them to announce, how many entries the feed keeps, and
/// for each record its value, its life and what the feed is to say of it. What somebody waits for is announced always:
/// that its key is there already does not mean that it was announced. Answers the epoch that it was written under. A rebuild announces what is news, and nothing
/// while there is no epoch: nobody follows a feed without one, and whoever begins to follow it reads SQL afterwards.
pub(super) const RAISE: &str = r"
local epoch, entry = redis.call('EXISTS', KEYS[2]) == 1, {}
for i = 3, #KEYS do
  local at = 3 * (i - 2)
  local key, value, life = KEYS[i], ARGV[at], tonumber(ARGV[at + 1])
  local held, left = redis.call('GET', key), redis.call('PTTL', key)
  local news = not held or (tonumber(held) or 0) < tonumber(value) or (left >= 0 and left + 60000 < life)
  if ARGV[1] == 'all' or (news and epoch) then
    table.insert(entry, 'r')
    table.insert(entry, ARGV[at + 2])
  end
  if held and (tonumber(held) or 0) > tonumber(value) then value = held end
  if held and left == -1 then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', string.format('%d', math.max(left, life)))
  end
end
if #entry > 0 then redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(entry)) end
return redis.call('GET', KEYS[2])";

/// Declares the set complete, unless its contents were lost since the rebuild began: then the rebuild's mark is gone
/// too. An epoch of the same lineage that another replica declared meanwhile is kept, or replicas would disown each
/// other's for ever.
pub(super) const FINISH: &str = r"
if redis.call('DEL', KEYS[1]) == 0 then return false end
local held = redis.call('GET', KEYS[2])
if held and string.sub(held, -#ARGV[2]) == ARGV[2] then return held end
redis.call('SET', KEYS[2], ARGV[1] .. ARGV[2])
return ARGV[1] .. ARGV[2]";
