BEGIN TRANSACTION;
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY,
    id     BLOB NOT NULL UNIQUE, -- the UUID's 16 bytes
    policy TEXT,
    plan   INTEGER NOT NULL,     -- of plans
    record TEXT NOT NULL
) STRICT;
INSERT INTO "alerts" VALUES(1,X'01A21905288E79DF89C628EE99528185','night',1,'{"v":1,"at":1795716098190,"message":"Waiting for Tony","severity":"warning","policy":"night","key":"disk","details":"{}"}
d85f37e91738e708');
INSERT INTO "alerts" VALUES(2,X'01A219052905784CBD06327EFB832DFB','small',2,'{"v":1,"at":1795716098309,"message":"Acknowledged by Tony","severity":"critical","policy":"small","details":"{}"}
3fc08fcc43e08d40');
INSERT INTO "alerts" VALUES(3,X'01A2190529717BC584DC58573818D792','small',2,'{"v":1,"at":1795716098417,"message":"Nobody answered","severity":"critical","policy":"small","key":"memory","details":"{}"}
ad9eac7ac2582341');
INSERT INTO "alerts" VALUES(4,X'01A2190529DD742C898E59D113C78FE7','night',1,'{"v":1,"at":1795716098525,"message":"Over","severity":"critical","policy":"night","details":"{\"host\":\"server-1\"}"}
ae83dc613325bd1e');
INSERT INTO "alerts" VALUES(5,X'01A219052A487AEBAAC1BF3C068B784F','small',2,'{"v":1,"at":1795716098632,"message":"Posted once","severity":"critical","policy":"small","details":"{}"}
0b5dcfef88c1368b');
INSERT INTO "alerts" VALUES(6,X'01A219052FE97D69A08F153A89D5B753','small',2,'{"v":1,"at":1795716100073,"message":"Fails","severity":"critical","policy":"small","details":"{}"}
ed0b9490f2eb0c59');
CREATE TABLE claims (
    key         BLOB NOT NULL UNIQUE, -- a hash
    fingerprint BLOB NOT NULL,        -- a hash of the request's body
    outcome     TEXT NOT NULL,
    number      INTEGER NOT NULL,     -- of alerts
    at          INTEGER NOT NULL,     -- milliseconds since 1970
    record      TEXT NOT NULL         -- the state, as in states
) STRICT;
INSERT INTO "claims" VALUES(X'EBEC7440961C5704DE1B77E0FB3D7B16B99373283B237E67226DA8679054CF33',X'AAA1157D4E4D7A81FBF3B9D8045EEF860820E2E15FBC2E6D5D927CA9FC79F3B9','created',5,1795716098632,'{"v":1,"status":{"escalating":{"sending":{"until":1795716128632}}},"round":1,"attempts":[{"step":0,"round":1,"due":1795716098632,"tries":1}],"updated":1795716098632,"timeline":[{"at":1795716098632,"what":"raised"}]}
ef454b95b2eaa270');
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
INSERT INTO "deliveries" VALUES(1,-6247697849756801385,X'01A219052905784CBD06327EFB832DFB','acknowledged','evt_01a219052905784cbd06327efb832dfb_3',1795716099739,'{"type":"alert.acknowledged","timestamp":"2026-11-26T18:01:39.739Z","data":{"alert_id":"01a21905-2905-784c-bd06-327efb832dfb","code":"S8M7","status":"acknowledged","severity":"critical","policy":"small","source":null,"dedup_key":null,"round":1,"attempt":null,"user":null,"channel":null,"by":"Tony","via":"api","url":null}}',1,1795716104422,0,'no connection: Connection refused (os error 111)');
CREATE TABLE messages (
    id      TEXT PRIMARY KEY,
    number  INTEGER NOT NULL, -- of alerts
    attempt INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "messages" VALUES('1c332bf2-46c0-4681-ad0a-5347b7f68daa',1,1);
INSERT INTO "messages" VALUES('2d599abc-ebdb-432c-b968-f5ec919e32eb',3,1);
INSERT INTO "messages" VALUES('7870960e-fe43-4f84-9d39-8d390129dfd7',2,1);
INSERT INTO "messages" VALUES('f92a7885-89a2-4b60-b8d3-beb14f4cb0f6',5,1);
INSERT INTO "messages" VALUES('f9324ba1-33ac-40d8-bd20-a6881a9df04d',4,1);
CREATE TABLE parked (
    place  INTEGER PRIMARY KEY,
    id     TEXT NOT NULL,    -- what Vonage calls the message or workflow
    at     INTEGER NOT NULL, -- milliseconds since 1970
    record TEXT NOT NULL
) STRICT;
INSERT INTO "parked" VALUES(1,'11111111-2222-4333-8444-555555555555',1795716099762,'{"v":1,"webhook":{"status":{"id":"11111111-2222-4333-8444-555555555555","channel":"sms","to":"447700900002","status":"delivered"}}}
fa2fd2bd15196468');
CREATE TABLE plans (
    id     INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL UNIQUE, -- SHA-256 of the record
    record TEXT NOT NULL
) STRICT;
INSERT INTO "plans" VALUES(1,X'7D2F1F36485C0363ED7B8EF1C340F15DF706F7815EE48CD997B2F6C3D896D9BF','{"v":1,"backend":"messages","repeat":0,"steps":[{"place":0,"user":"Tony","first":{"channel":"whatsapp","address":"447700900001","expiry":600,"condition":"read"}},{"place":0,"user":"Tony","first":{"channel":"sms","address":"447700900001","expiry":600,"condition":"read"}},{"place":1,"user":"Anna","first":{"channel":"sms","address":"447700900002","expiry":600,"condition":"read"}}]}');
INSERT INTO "plans" VALUES(2,X'F809EAFDE98C7C51AB733E6C6857E41454F799925D31C8DBFEBD9A3D5651F384','{"v":1,"backend":"messages","repeat":0,"steps":[{"place":0,"user":"Anna","first":{"channel":"sms","address":"447700900002","expiry":600,"condition":"read"}}]}');
CREATE TABLE probes (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
INSERT INTO "probes" VALUES(1,1795716101699);
CREATE TABLE reached (
    channel TEXT NOT NULL,
    address TEXT NOT NULL,    -- in full, as in the plans
    number  INTEGER NOT NULL, -- of alerts
    PRIMARY KEY (channel, address, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "reached" VALUES('sms','447700900002',2);
INSERT INTO "reached" VALUES('sms','447700900002',3);
INSERT INTO "reached" VALUES('sms','447700900002',5);
INSERT INTO "reached" VALUES('sms','447700900002',6);
INSERT INTO "reached" VALUES('whatsapp','447700900001',1);
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "secrets" VALUES('acknowledge-links',X'BCE2B17962CD4AFD5BF5453FD666423227DFA61F136D90A5BE9CBA6761A1777B');
CREATE TABLE states (
    number   INTEGER PRIMARY KEY, -- of alerts
    id       BLOB NOT NULL,       -- of alerts, so that the indexes below answer alone
    version  INTEGER NOT NULL,
    status   TEXT NOT NULL,
    wake_at  INTEGER,             -- milliseconds since 1970; null once the alert is settled
    sending  INTEGER NOT NULL,    -- 1 while somebody has the right to send
    open_key TEXT,                -- the dedup key, while posting it again counts as a repetition
    record   TEXT NOT NULL
, spent_key TEXT, settled_at INTEGER) STRICT;
INSERT INTO "states" VALUES(1,X'01A21905288E79DF89C628EE99528185',2,'escalating',1795716698193,0,'disk','{"v":1,"status":{"escalating":{"waiting":{"until":1795716698193}}},"round":1,"attempts":[{"step":0,"round":1,"due":1795716098190,"tries":1,"sent":1795716098193,"expires":1795716698193,"ids":["1c332bf2-46c0-4681-ad0a-5347b7f68daa"]}],"updated":1795716098193,"timeline":[{"at":1795716098190,"what":"raised"},{"at":1795716098193,"what":"sent","attempt":1}]}
8dbe1e5fee9e51da',NULL,NULL);
INSERT INTO "states" VALUES(2,X'01A219052905784CBD06327EFB832DFB',3,'acknowledged',NULL,0,NULL,'{"v":1,"status":"acknowledged","round":1,"attempts":[{"step":0,"round":1,"due":1795716098309,"tries":1,"sent":1795716098311,"expires":1795716698311,"ids":["7870960e-fe43-4f84-9d39-8d390129dfd7"]}],"acknowledged":{"by":"Tony","via":"api","at":1795716099739},"updated":1795716099739,"timeline":[{"at":1795716098309,"what":"raised"},{"at":1795716098311,"what":"sent","attempt":1},{"at":1795716099739,"what":"acknowledged","by":"Tony","detail":"api"}]}
6ba60d7484ae02d3',NULL,1795716099739);
INSERT INTO "states" VALUES(3,X'01A2190529717BC584DC58573818D792',3,'exhausted',NULL,0,NULL,'{"v":1,"status":"exhausted","round":1,"attempts":[{"step":0,"round":1,"due":1795716098417,"tries":1,"sent":1795716098419,"expires":1795716698419,"ending":"superseded","ids":["2d599abc-ebdb-432c-b968-f5ec919e32eb"]}],"updated":1795716099748,"timeline":[{"at":1795716098417,"what":"raised"},{"at":1795716098419,"what":"sent","attempt":1},{"at":1795716099748,"what":"exhausted","by":"Tony"}]}
1329718a3c242887','memory',1795716099748);
INSERT INTO "states" VALUES(4,X'01A2190529DD742C898E59D113C78FE7',3,'resolved',NULL,0,NULL,'{"v":1,"status":"resolved","round":1,"attempts":[{"step":0,"round":1,"due":1795716098525,"tries":1,"sent":1795716098527,"expires":1795716698527,"ids":["f9324ba1-33ac-40d8-bd20-a6881a9df04d"]}],"updated":1795716099755,"timeline":[{"at":1795716098525,"what":"raised"},{"at":1795716098527,"what":"sent","attempt":1},{"at":1795716099755,"what":"resolved","by":"Tony"}]}
5886f70755fb75f4',NULL,1795716099755);
INSERT INTO "states" VALUES(5,X'01A219052A487AEBAAC1BF3C068B784F',2,'escalating',1795716698633,0,NULL,'{"v":1,"status":{"escalating":{"waiting":{"until":1795716698633}}},"round":1,"attempts":[{"step":0,"round":1,"due":1795716098632,"tries":1,"sent":1795716098633,"expires":1795716698633,"ids":["f92a7885-89a2-4b60-b8d3-beb14f4cb0f6"]}],"updated":1795716098633,"timeline":[{"at":1795716098632,"what":"raised"},{"at":1795716098633,"what":"sent","attempt":1}]}
8b2b44831a9530ad',NULL,NULL);
INSERT INTO "states" VALUES(6,X'01A219052FE97D69A08F153A89D5B753',6,'escalating',1795716103795,0,NULL,'{"v":1,"status":{"escalating":{"ready":{"from":1795716103795,"why":"retry"}}},"round":1,"attempts":[{"step":0,"round":1,"due":1795716100073,"tries":3,"failing_since":1795716100074,"failed":1795716101537,"failure":{"detail":"no connection: Connection refused (os error 111)"}}],"updated":1795716101537,"timeline":[{"at":1795716100073,"what":"raised"},{"at":1795716100074,"what":"send_failed","attempt":1,"detail":"no connection: Connection refused (os error 111)"},{"at":1795716100487,"what":"send_failed","attempt":1,"detail":"no connection: Connection refused (os error 111)"},{"at":1795716101537,"what":"send_failed","attempt":1,"detail":"no connection: Connection refused (os error 111)"}]}
1fc0e57f37191c5f',NULL,NULL);
CREATE TABLE timeline (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    run      TEXT NOT NULL,   -- which run of the machine
    began_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT;
INSERT INTO "timeline" VALUES(1,'00000000-0000-4000-8000-000000000000 time:[1]',1795714843058);
CREATE INDEX alerts_of_a_policy ON alerts (policy, id) WHERE policy IS NOT NULL;
CREATE INDEX armed ON states (id, wake_at, sending) WHERE wake_at IS NOT NULL;
CREATE INDEX settled ON states (status, id) WHERE wake_at IS NULL;
CREATE UNIQUE INDEX open_keys ON states (open_key) WHERE open_key IS NOT NULL;
CREATE INDEX claims_by_age ON claims (at);
CREATE INDEX parked_under ON parked (id);
CREATE INDEX parked_by_age ON parked (at);
CREATE INDEX spent_keys ON states (spent_key) WHERE spent_key IS NOT NULL;
CREATE INDEX forgettable ON states (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX deliveries_in_order ON deliveries (endpoint, alert, place) WHERE dead = 0;
CREATE INDEX deliveries_due ON deliveries (endpoint, due_at) WHERE dead = 0;
CREATE INDEX deliveries_dead ON deliveries (place) WHERE dead = 1;
COMMIT;
PRAGMA application_id = 1667329132;
PRAGMA user_version = 5;
