-- What a node's clock said when it was seen last, so that another one whose machine stood still can tell that from a
-- jump of this server's clock.
ALTER TABLE callout.nodes ADD COLUMN IF NOT EXISTS by_clock bigint; -- milliseconds since 1970; null from older nodes
ALTER TABLE callout.nodes ADD COLUMN IF NOT EXISTS n_meets bigint NOT NULL DEFAULT 0;
