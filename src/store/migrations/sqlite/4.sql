-- Callbacks that wait for their endpoint or were given up. Written in the commit of what they tell of;
-- forgotten once delivered.
CREATE TABLE deliveries (
    place    INTEGER PRIMARY KEY,
    endpoint INTEGER NOT NULL,           -- a hash of its URL
    alert    BLOB NOT NULL,              -- the UUID's 16 bytes; zeros where it is about no alert
    topic    TEXT NOT NULL,
    event    TEXT NOT NULL,              -- the same for each endpoint
    at       INTEGER NOT NULL,           -- milliseconds since 1970
    body     TEXT NOT NULL,
    tries    INTEGER NOT NULL DEFAULT 0,
    due_at   INTEGER NOT NULL,           -- milliseconds since 1970
    dead     INTEGER NOT NULL DEFAULT 0, -- 1 once it was given up
    failure  TEXT
) STRICT;

CREATE INDEX deliveries_in_order ON deliveries (endpoint, alert, place) WHERE dead = 0;
CREATE INDEX deliveries_due ON deliveries (endpoint, due_at) WHERE dead = 0;
CREATE INDEX deliveries_dead ON deliveries (place) WHERE dead = 1;
