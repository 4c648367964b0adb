-- Since when an alert has been settled without a change, so that old ones are found and forgotten.
ALTER TABLE states ADD COLUMN settled_at INTEGER; -- milliseconds since 1970; null while it escalates

UPDATE states
SET settled_at = coalesce(CASE WHEN json_valid(record) THEN json_extract(record, '$.updated_at') END, unixepoch() * 1000)
WHERE wake_at IS NULL;

CREATE INDEX forgettable ON states (settled_at) WHERE settled_at IS NOT NULL;
