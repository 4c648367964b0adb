//! Every statement that is put to the database; what makes the tables stands in `migrations/postgres`.
//!
//! None needs more of a database than PostgreSQL's plain language: no advisory lock, no notification,
//! no lock that outlives its statement. A group of changes is one statement and so one transaction.

/// Commits a group of changes, each for itself: an update whose version is no longer the newest and an insert
/// whose dedup key is taken change nothing and take nobody along. Answers with the alerts that were changed,
/// or with no row at all where a newer callout has forbidden this one to write.
///
/// The lists of one kind are as long as each other. Key changes: 0 none, 1 spend, 2 release, 3 regain.
pub(super) const COMMIT: &str = "
WITH leave AS MATERIALIZED (
    SELECT 1 FROM callout.installation WHERE id = 1 AND writers_from <= $1
), changes AS MATERIALIZED (
    SELECT * FROM unnest($4::uuid[], $5::bigint[], $6::text[], $7::bigint[], $8::boolean[], $9::boolean[],
                         $10::bigint[], $11::bytea[], $12::text[], $41::bigint[])
               AS c (id, seen, status, wake_at, sending, failing, key_change, open_key, record, settled_at)
    WHERE EXISTS (SELECT 1 FROM leave)
), updated AS (
    UPDATE callout.states s SET
        version = s.version + 1, status = c.status, wake_at = c.wake_at, sending = c.sending,
        failing = c.failing, record = c.record, settled_at = c.settled_at,
        open_key = CASE c.key_change
            WHEN 0 THEN s.open_key
            WHEN 1 THEN NULL
            WHEN 2 THEN NULL
            ELSE CASE WHEN EXISTS (SELECT 1 FROM callout.states o WHERE o.open_key = c.open_key)
                      THEN NULL ELSE c.open_key END
        END,
        spent_key = CASE c.key_change WHEN 1 THEN c.open_key WHEN 2 THEN NULL ELSE s.spent_key END
    FROM changes c WHERE s.id = c.id AND s.version = c.seen
    RETURNING s.id, s.number
), fresh AS MATERIALIZED (
    SELECT * FROM unnest($13::uuid[], $14::bigint[], $15::text[], $16::bytea[], $17::text[], $18::text[],
                         $19::bigint[], $20::boolean[], $21::boolean[], $22::bytea[], $23::text[], $42::bigint[])
               AS f (id, number, policy, plan, raised, status, wake_at, sending, failing, open_key, record, settled_at)
    WHERE EXISTS (SELECT 1 FROM leave)
), inserted AS (
    INSERT INTO callout.states (id, number, version, status, wake_at, sending, failing, open_key, record, settled_at)
    SELECT id, number, 1, status, wake_at, sending, failing, open_key, record, settled_at FROM fresh
    ON CONFLICT (open_key) WHERE open_key IS NOT NULL DO NOTHING
    RETURNING id, number
), ways AS (
    INSERT INTO callout.plans (hash, record)
    SELECT p.hash, p.record FROM unnest($24::bytea[], $25::text[]) AS p (hash, record)
    WHERE EXISTS (SELECT 1 FROM leave)
    ON CONFLICT (hash) DO NOTHING
), alerts AS (
    INSERT INTO callout.alerts (number, id, policy, plan, record)
    SELECT number, id, policy, plan, raised FROM fresh
    WHERE number = ANY (ARRAY(SELECT number FROM inserted))
), won AS MATERIALIZED (
    SELECT id, number FROM updated UNION ALL SELECT id, number FROM inserted
), messages AS (
    INSERT INTO callout.messages (id, number, attempt)
    SELECT m.id, m.number, m.attempt FROM unnest($26::text[], $27::bigint[], $28::bigint[]) AS m (id, number, attempt)
    WHERE m.number = ANY (ARRAY(SELECT number FROM won))
    ON CONFLICT (id) DO NOTHING
), reached AS (
    INSERT INTO callout.reached (channel, address, number)
    SELECT r.channel, r.address, r.number
    FROM unnest($29::text[], $30::text[], $31::bigint[]) AS r (channel, address, number)
    WHERE r.number = ANY (ARRAY(SELECT number FROM won))
    ON CONFLICT (channel, address, number) DO NOTHING
), forgotten AS (
    DELETE FROM callout.reached d
    USING unnest($32::text[], $33::text[], $34::bigint[]) AS r (channel, address, number)
    WHERE d.channel = r.channel AND d.address = r.address AND d.number = r.number
      AND r.number = ANY (ARRAY(SELECT number FROM won))
), claims AS (
    INSERT INTO callout.claims (key, fingerprint, outcome, number, at, record)
    SELECT k.key, k.fingerprint, k.outcome, k.number, k.at, k.record
    FROM unnest($35::bytea[], $36::bytea[], $37::text[], $38::bigint[], $39::bigint[], $40::text[])
         AS k (key, fingerprint, outcome, number, at, record)
    WHERE k.number = ANY (ARRAY(SELECT number FROM won))
), told AS (
    INSERT INTO callout.deliveries (endpoint, alert, topic, event, at, body, due_at)
    SELECT t.endpoint, t.alert, t.topic, t.event, t.at, t.body, t.at
    FROM unnest($43::bigint[], $44::uuid[], $45::text[], $46::text[], $47::bigint[], $48::text[])
         WITH ORDINALITY AS t (endpoint, alert, topic, event, at, body, place)
    WHERE t.alert = ANY (ARRAY(SELECT id FROM won))
    ORDER BY t.place
)
INSERT INTO callout.commits (tag, node, won)
SELECT $2::uuid, $3::uuid, ARRAY(SELECT id FROM won) FROM leave
RETURNING won";

/// What a group of changes did, if it was committed.
pub(super) const COMMITTED: &str = "SELECT won FROM callout.commits WHERE tag = $1";

pub(super) const GET: &str = "SELECT a.number, a.id, a.plan, a.record, s.version, s.record \
     FROM callout.alerts a LEFT JOIN callout.states s ON s.id = a.id WHERE a.id = ANY ($1)";

pub(super) const PLAN: &str = "SELECT record FROM callout.plans WHERE hash = $1";

pub(super) const CLAIMED: &str = "SELECT a.number, a.id, a.plan, a.record, 1::bigint, c.record, c.fingerprint, c.outcome \
     FROM callout.claims c JOIN callout.alerts a ON a.number = c.number WHERE c.key = $1";

pub(super) const ARMED: &str = "SELECT id, wake_at, sending FROM callout.states \
     WHERE wake_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2";

/// The lower bound keeps the walk off what was dealt with and is not vacuumed yet.
pub(super) const OVERDUE: &str = "SELECT id, wake_at, sending FROM callout.states \
     WHERE wake_at IS NOT NULL AND (wake_at, id) > ($1, $2) AND wake_at <= $3 AND (sending OR wake_at <= $4) \
     ORDER BY wake_at, id LIMIT $5";

pub(super) const UNARMED: &str =
    "SELECT id FROM callout.states WHERE wake_at IS NULL AND status = 'escalating' LIMIT $1";

pub(super) const FAILING: &str = "SELECT id FROM callout.states WHERE failing AND id < $1 ORDER BY id DESC LIMIT $2";

pub(super) const FIND_MESSAGE: &str = "SELECT a.id, m.attempt, m.id FROM callout.messages m \
     JOIN callout.alerts a ON a.number = m.number WHERE m.id = ANY ($1)";

pub(super) const FIND_NUMBER: &str = "SELECT id FROM callout.alerts WHERE number = $1";

pub(super) const NEWEST_NUMBER: &str = "SELECT number FROM callout.alerts ORDER BY number DESC LIMIT 1";

/// Takes numbers that nobody else will be given, $1 times as many as a node takes at a time; the last of these
/// groups begins with the answer. (Setting a sequence is not safe while others use it; taking from it is.)
pub(super) const TAKE_NUMBERS: &str = "SELECT max(n) FROM \
     (SELECT nextval('callout.numbers') AS n FROM generate_series(1, $1::bigint)) AS taken";

pub(super) const FIND_ADDRESS: &str = "SELECT a.id FROM callout.reached r \
     JOIN callout.alerts a ON a.number = r.number JOIN callout.states s ON s.id = a.id \
     WHERE r.channel = $1 AND r.address = $2 AND s.status = ANY ($3::text[]) ORDER BY a.id DESC LIMIT $4";

pub(super) const FIND_KEY: &str =
    "SELECT id FROM callout.states WHERE open_key = $1 OR spent_key = $1 ORDER BY id DESC LIMIT $2";

pub(super) const FIND_OPEN: &str = "SELECT id FROM callout.states WHERE open_key = $1";

pub(super) const PARK: &str = "INSERT INTO callout.parked (id, at, record) VALUES ($1, $2, $3)";

pub(super) const MAKE_ROOM: &str = "DELETE FROM callout.parked WHERE place <= \
     (SELECT place FROM callout.parked ORDER BY place DESC OFFSET $1 LIMIT 1)";

pub(super) const PARKED: &str = "SELECT record, id FROM callout.parked WHERE id = ANY ($1) ORDER BY place";

pub(super) const PARKED_AND_KNOWN: &str = "SELECT DISTINCT p.id FROM callout.parked p \
     WHERE EXISTS (SELECT 1 FROM callout.messages m WHERE m.id = p.id) LIMIT $1";

pub(super) const UNPARK: &str = "DELETE FROM callout.parked WHERE id = $1";

pub(super) const RELEASE_KEY: &str = "UPDATE callout.states SET open_key = NULL WHERE open_key = $1 AND id = $2";

pub(super) const TIDY_CLAIMS: &str = "DELETE FROM callout.claims WHERE key = ANY (ARRAY( \
     SELECT key FROM callout.claims WHERE at < $1 ORDER BY at LIMIT $2))";

pub(super) const TIDY_PARKED: &str = "DELETE FROM callout.parked WHERE place = ANY (ARRAY( \
     SELECT place FROM callout.parked WHERE at < $1 ORDER BY at LIMIT $2))";

pub(super) const TIDY_COMMITS: &str = "DELETE FROM callout.commits WHERE tag = ANY (ARRAY( \
     SELECT tag FROM callout.commits WHERE at < clock_timestamp() - interval '10 minutes' ORDER BY at LIMIT $1))";

pub(super) const TIDY_NODES: &str = "DELETE FROM callout.nodes WHERE seen_at < clock_timestamp() - interval '1 day'";

/// Forgets settled alerts with everything they are found by. The newest alert stays, as in every store.
pub(super) const FORGET: &str = "
WITH old AS MATERIALIZED (
    SELECT id, number FROM callout.states
    WHERE settled_at < $1 AND number < (SELECT number FROM callout.alerts ORDER BY number DESC LIMIT 1)
    ORDER BY settled_at LIMIT $2 FOR UPDATE SKIP LOCKED
), states AS (
    DELETE FROM callout.states s WHERE s.id = ANY (ARRAY(SELECT id FROM old)) AND s.settled_at < $1 RETURNING number
), alerts AS (
    DELETE FROM callout.alerts WHERE number = ANY (ARRAY(SELECT number FROM states))
), messages AS (
    DELETE FROM callout.messages WHERE number = ANY (ARRAY(SELECT number FROM states))
), reached AS (
    DELETE FROM callout.reached WHERE number = ANY (ARRAY(SELECT number FROM states))
)
SELECT count(*) FROM states";

/// A plan that an alert comes to have at this moment is held by the reference.
pub(super) const FORGET_PLANS: &str = "DELETE FROM callout.plans WHERE hash = ANY (ARRAY( \
     SELECT p.hash FROM callout.plans p WHERE NOT EXISTS (SELECT 1 FROM callout.alerts a WHERE a.plan = p.hash) LIMIT 500))";

pub(super) const SECRET: &str = "SELECT value FROM callout.secrets WHERE name = $1";

pub(super) const KEEP_SECRET: &str =
    "INSERT INTO callout.secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";

/// One row, unless a newer callout has forbidden this one to write. [`COMMIT`] and [`PROBE`] ask within themselves; this is
/// for what only tidies up or waits, where it does no harm that the answer may be old a moment later.
pub(super) const MAY_WRITE: &str = "SELECT 1 FROM callout.installation WHERE id = 1 AND writers_from <= $1";

/// Keeps something, unless a newer callout has forbidden this one to write.
pub(super) const PROBE: &str = "INSERT INTO callout.probes (id, at) \
     SELECT 1, $1::bigint FROM callout.installation WHERE id = 1 AND writers_from <= $2 \
     ON CONFLICT (id) DO UPDATE SET at = excluded.at";

/// The time by the server's clock, and how far the time that the nodes agree on is from it.
pub(super) const TIME: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, shift_millis \
     FROM callout.time WHERE id = 1";

/// The server's clock jumped: the first node that sees it makes up for it, for all of them.
pub(super) const SHIFT_TIME: &str = "UPDATE callout.time SET shift_millis = $1 WHERE id = 1 AND shift_millis = $2";

/// What other nodes committed.
pub(super) const NEWS: &str = "SELECT place, won FROM callout.commits \
     WHERE place > $1 AND node <> $2 ORDER BY place LIMIT $3";

pub(super) const NEWEST_PLACE: &str = "SELECT coalesce(max(place), 0) FROM callout.commits";

/// Whether another node that has been there for a while was seen just now, and its clock goes by this server's as all
/// nodes are told to: to half of the jump that is in question.
pub(super) const GOES_ON: &str = "SELECT EXISTS (SELECT 1 FROM callout.nodes \
     WHERE id <> $1 AND n_meets >= $2 \
     AND seen_at BETWEEN clock_timestamp() - $3::bigint * interval '1 millisecond' AND clock_timestamp() \
     AND abs(by_clock - (extract(epoch FROM seen_at) * 1000)::bigint - $4::bigint) < $5::bigint / 2)";

/// Says that this node is there, what its clock says, and what it knows of the way to Vonage.
pub(super) const MEET: &str = "INSERT INTO callout.nodes (id, seen_at, accepted_at, by_clock, n_meets) \
     VALUES ($1, clock_timestamp(), $2, $3, 1) \
     ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, accepted_at = excluded.accepted_at, \
     by_clock = excluded.by_clock, n_meets = callout.nodes.n_meets + 1";

/// The others that are there, and when Vonage last accepted something from any of them. Who was seen in the future
/// was seen before the server's clock was set back.
pub(super) const MET: &str = "SELECT count(*), max(accepted_at) FROM callout.nodes \
     WHERE id <> $1 AND seen_at BETWEEN clock_timestamp() - interval '10 seconds' AND clock_timestamp() + interval '10 seconds'";

/// Keeps callbacks that tell of no change of an alert.
pub(super) const KEEP_DELIVERIES: &str = "INSERT INTO callout.deliveries (endpoint, alert, topic, event, at, body, due_at) \
     SELECT t.endpoint, t.alert, t.topic, t.event, t.at, t.body, t.at \
     FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[]) \
          WITH ORDINALITY AS t (endpoint, alert, topic, event, at, body, place) ORDER BY t.place";

/// Takes what is due at $2 for the endpoint $1, of each alert only the first that waits, until $3; without those at
/// the places $4. Of nodes that take the same at once, the second finds the row changed and leaves it.
pub(super) const TAKE_DELIVERIES: &str = "
WITH due AS MATERIALIZED (
    SELECT d.place FROM callout.deliveries d
    WHERE d.endpoint = $1 AND NOT d.dead AND d.due_at <= $2 AND d.leased_until <= $2 AND d.place <> ALL ($4::bigint[])
      AND NOT EXISTS (SELECT 1 FROM callout.deliveries e
                      WHERE e.endpoint = $1 AND e.alert = d.alert AND NOT e.dead AND e.place < d.place)
    ORDER BY d.due_at, d.place LIMIT $5
)
UPDATE callout.deliveries d SET leased_until = $3
WHERE d.place = ANY (ARRAY(SELECT place FROM due)) AND NOT d.dead AND d.due_at <= $2 AND d.leased_until <= $2
RETURNING d.place, d.endpoint, d.alert, d.topic, d.event, d.at, d.body, d.tries, d.due_at, d.dead, d.failure";

/// When something comes to be due for an endpoint, or is free again that a node took and did not settle.
pub(super) const NEXT_DELIVERY: &str = "SELECT min(greatest(due_at, leased_until)) FROM callout.deliveries \
     WHERE endpoint = $1 AND NOT dead AND (due_at > $2 OR leased_until > $2)";

pub(super) const FORGET_DELIVERY: &str = "DELETE FROM callout.deliveries WHERE place = $1 AND event = $2";

pub(super) const PUT_DELIVERY_OFF: &str = "UPDATE callout.deliveries \
     SET tries = $3, dead = $4, due_at = $5, failure = $6, leased_until = 0 WHERE place = $1 AND event = $2";

pub(super) const DELIVERIES: &str = "SELECT place, endpoint, alert, topic, event, at, body, tries, due_at, dead, failure \
     FROM callout.deliveries WHERE place < $1 AND (dead OR NOT $2) ORDER BY place DESC LIMIT $3";

pub(super) const REPLAY_DELIVERIES: &str = "UPDATE callout.deliveries \
     SET dead = false, tries = 0, due_at = $2, leased_until = 0 WHERE dead AND ($1::bigint IS NULL OR place = $1)";

/// Forgets what is older than $1 or too many beside the newest $2, at most $3 of them. Places count up with time,
/// so that the old ones are found at the beginning.
pub(super) const FORGET_DELIVERIES: &str = "
WITH oldest AS MATERIALIZED (
    SELECT place, at, row_number() OVER (ORDER BY place) AS rank FROM callout.deliveries ORDER BY place LIMIT $3
)
DELETE FROM callout.deliveries WHERE place = ANY (ARRAY(
    SELECT place FROM oldest WHERE at < $1 OR rank <= (SELECT count(*) FROM callout.deliveries) - $2))";

/// All of them.
pub(super) const ALL: [&str; 51] = [
    COMMIT,
    COMMITTED,
    GET,
    PLAN,
    CLAIMED,
    ARMED,
    OVERDUE,
    UNARMED,
    FAILING,
    FIND_MESSAGE,
    FIND_NUMBER,
    NEWEST_NUMBER,
    TAKE_NUMBERS,
    FIND_ADDRESS,
    FIND_OPEN,
    FIND_KEY,
    PARK,
    MAKE_ROOM,
    PARKED,
    PARKED_AND_KNOWN,
    UNPARK,
    RELEASE_KEY,
    TIDY_CLAIMS,
    TIDY_PARKED,
    TIDY_COMMITS,
    TIDY_NODES,
    SECRET,
    FORGET,
    FORGET_PLANS,
    KEEP_SECRET,
    MAY_WRITE,
    PROBE,
    TIME,
    SHIFT_TIME,
    NEWS,
    NEWEST_PLACE,
    GOES_ON,
    MEET,
    MET,
    LIST_ALL,
    LIST_OF_POLICY,
    LIST_ESCALATING,
    LIST_SETTLED,
    KEEP_DELIVERIES,
    TAKE_DELIVERIES,
    NEXT_DELIVERY,
    FORGET_DELIVERY,
    PUT_DELIVERY_OFF,
    DELIVERIES,
    REPLAY_DELIVERIES,
    FORGET_DELIVERIES,
];

pub(super) const LIST_ALL: &str = "SELECT a.number, a.id, a.plan, a.record, s.version, s.record \
     FROM callout.alerts a LEFT JOIN callout.states s ON s.id = a.id \
     WHERE a.id < $1 ORDER BY a.id DESC LIMIT $2";

pub(super) const LIST_OF_POLICY: &str = "SELECT a.number, a.id, a.plan, a.record, s.version, s.record \
     FROM callout.alerts a LEFT JOIN callout.states s ON s.id = a.id \
     WHERE a.policy = $3 AND a.id < $1 ORDER BY a.id DESC LIMIT $2";

pub(super) const LIST_ESCALATING: &str = "SELECT a.number, a.id, a.plan, a.record, s.version, s.record \
     FROM callout.states s JOIN callout.alerts a ON a.id = s.id \
     WHERE s.wake_at IS NOT NULL AND s.id < $1 AND ($3::text IS NULL OR a.policy = $3) \
     ORDER BY s.id DESC LIMIT $2";

pub(super) const LIST_SETTLED: &str = "SELECT a.number, a.id, a.plan, a.record, s.version, s.record \
     FROM callout.states s JOIN callout.alerts a ON a.id = s.id \
     WHERE s.wake_at IS NULL AND s.status = $4 AND s.id < $1 AND ($3::text IS NULL OR a.policy = $3) \
     ORDER BY s.id DESC LIMIT $2";
