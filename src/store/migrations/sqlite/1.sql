-- What an alert is, and how far it has come, stand in JSON records (src/store/record). The other
-- columns are what alerts are found by. Ids are UUIDs of version 7 and numbers count up, so that new
-- rows go to the end of every table and index that all commits touch.

-- The frozen ways that alerts take; many alerts share one.
CREATE TABLE plans (
    id     INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL UNIQUE, -- SHA-256 of the record
    record TEXT NOT NULL
) STRICT;

-- What was posted. Never changes.
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY,
    id     BLOB NOT NULL UNIQUE, -- the UUID's 16 bytes
    policy TEXT,
    plan   INTEGER NOT NULL,     -- of plans
    record TEXT NOT NULL
) STRICT;

CREATE INDEX alerts_of_a_policy ON alerts (policy, id) WHERE policy IS NOT NULL;

-- How far each alert has come. Replaced with every event.
CREATE TABLE states (
    number   INTEGER PRIMARY KEY, -- of alerts
    id       BLOB NOT NULL,       -- of alerts, so that the indexes below answer alone
    version  INTEGER NOT NULL,
    status   TEXT NOT NULL,
    wake_at  INTEGER,             -- milliseconds since 1970; null once the alert is settled
    sending  INTEGER NOT NULL,    -- 1 while somebody has the right to send
    open_key TEXT,                -- the dedup key, while posting it again counts as a repetition
    record   TEXT NOT NULL
) STRICT;

CREATE INDEX armed ON states (id, wake_at, sending) WHERE wake_at IS NOT NULL;
CREATE INDEX settled ON states (status, id) WHERE wake_at IS NULL;
CREATE UNIQUE INDEX open_keys ON states (open_key) WHERE open_key IS NOT NULL;

-- Which attempt sent a message or workflow, by what Vonage calls it.
CREATE TABLE messages (
    id      TEXT PRIMARY KEY,
    number  INTEGER NOT NULL, -- of alerts
    attempt INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which alerts have messaged an address. Forgotten when an alert is resolved.
CREATE TABLE reached (
    channel TEXT NOT NULL,
    address TEXT NOT NULL,    -- in full, as in the plans
    number  INTEGER NOT NULL, -- of alerts
    PRIMARY KEY (channel, address, number)
) STRICT, WITHOUT ROWID;

-- What idempotency keys were used for, with the alert as it stood then.
CREATE TABLE claims (
    key         BLOB NOT NULL UNIQUE, -- a hash
    fingerprint BLOB NOT NULL,        -- a hash of the request's body
    outcome     TEXT NOT NULL,
    number      INTEGER NOT NULL,     -- of alerts
    at          INTEGER NOT NULL,     -- milliseconds since 1970
    record      TEXT NOT NULL         -- the state, as in states
) STRICT;

CREATE INDEX claims_by_age ON claims (at);

-- Webhooks whose attempt is not known yet.
CREATE TABLE parked (
    place  INTEGER PRIMARY KEY,
    id     TEXT NOT NULL,    -- what Vonage calls the message or workflow
    at     INTEGER NOT NULL, -- milliseconds since 1970
    record TEXT NOT NULL
) STRICT;

CREATE INDEX parked_under ON parked (id);
CREATE INDEX parked_by_age ON parked (at);

-- Secrets that this installation made for itself.
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- When it was last proved that something can be kept.
CREATE TABLE probes (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
