-- How the moments in here are told from the time that the machine has been running (src/clock.rs), so that a
-- wall clock that is stepped while no process runs moves no deadline.
CREATE TABLE timeline (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    run      TEXT NOT NULL,   -- which run of the machine
    began_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT;
