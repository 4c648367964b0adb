-- Whether the latest send of an escalating alert has failed, so that a start learns of an outage from two alerts instead
-- of reading all that are due. Few alerts fail for long, so that this index costs what all alerts pay nothing.
ALTER TABLE states ADD COLUMN failing INTEGER NOT NULL DEFAULT 0;

-- A record may have a seal on a second line (src/store/sqlite/sealed.rs).
UPDATE states
SET failing = 1
FROM (SELECT number AS of, substr(record, 1, instr(record || char(10), char(10)) - 1) AS json FROM states WHERE wake_at IS NOT NULL)
WHERE number = of AND json_valid(json)
    AND json_extract(json, '$.attempts[#-1].failing_since') IS NOT NULL
    AND json_extract(json, '$.attempts[#-1].failed') IS NOT NULL;

CREATE INDEX failing ON states (id) WHERE failing = 1;
