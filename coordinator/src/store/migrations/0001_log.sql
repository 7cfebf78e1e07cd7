-- The log: what happened, in one order over all streams. Nothing in it is ever changed or removed.
-- Times are microseconds since 1970, UTC.
CREATE TABLE streams (
    stream   TEXT   PRIMARY KEY,
    revision BIGINT NOT NULL
);

CREATE TABLE events (
    sequence BIGINT PRIMARY KEY,
    stream   TEXT   NOT NULL REFERENCES streams (stream),
    revision BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    by       TEXT   NOT NULL,
    kind     TEXT   NOT NULL,
    app      TEXT,
    node     TEXT,
    rollout  TEXT,
    body     TEXT   NOT NULL,
    UNIQUE (stream, revision)
);
CREATE INDEX events_by_app ON events (app, sequence) WHERE app IS NOT NULL;
CREATE INDEX events_by_rollout ON events (rollout, sequence) WHERE rollout IS NOT NULL;

-- One row: the number of the last event, and the number of the last start.
CREATE TABLE counters (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence BIGINT NOT NULL,
    epoch    BIGINT NOT NULL
);
INSERT INTO counters (only_row, sequence, epoch) VALUES (1, 0, 0);

CREATE TABLE tokens (
    id          TEXT   PRIMARY KEY,
    role        TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    secret_hash TEXT   NOT NULL,
    created     BIGINT NOT NULL,
    expires     BIGINT,
    apps        TEXT   NOT NULL,
    used_at     BIGINT,
    revoked_at  BIGINT
);

CREATE TABLE certificates (
    serial     TEXT   PRIMARY KEY,
    node       TEXT   NOT NULL,
    issued     BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX certificates_by_node ON certificates (node);
