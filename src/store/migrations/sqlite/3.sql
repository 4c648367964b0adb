-- Since when an alert has been settled without a change, so that old ones are found and forgotten.
ALTER TABLE states ADD COLUMN settled_at INTEGER; -- milliseconds since 1970; null while it escalates

-- A record may have a seal on a second line (src/store/sqlite/sealed.rs).
UPDATE states
SET settled_at = json_extract(substr(record, 1, instr(record || char(10), char(10)) - 1), '$.updated')
WHERE wake_at IS NULL AND json_valid(substr(record, 1, instr(record || char(10), char(10)) - 1));

-- One that cannot be read is kept for its time from now on.
UPDATE states SET settled_at = unixepoch() * 1000 WHERE wake_at IS NULL AND settled_at IS NULL;

CREATE INDEX forgettable ON states (settled_at) WHERE settled_at IS NOT NULL;
