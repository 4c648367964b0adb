-- A tool that says "it is over" must also find the alert that nobody answered. Exhausted alerts are
-- few, so that this index costs what all alerts pay nothing.
ALTER TABLE states ADD COLUMN spent_key TEXT; -- the dedup key, from exhaustion until the alert is resolved

-- A record may have a seal on a second line (src/store/sqlite/sealed.rs).
UPDATE states
SET spent_key = (
    SELECT json_extract(substr(a.record, 1, instr(a.record || char(10), char(10)) - 1), '$.key')
    FROM alerts a WHERE a.number = states.number
)
WHERE status = 'exhausted';

CREATE INDEX spent_keys ON states (spent_key) WHERE spent_key IS NOT NULL;
