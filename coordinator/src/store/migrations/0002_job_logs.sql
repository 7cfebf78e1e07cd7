-- What was written during jobs. No facts: the oldest of an app are removed as newer ones come.
CREATE TABLE job_logs (
    job    TEXT   PRIMARY KEY,
    app    TEXT   NOT NULL,
    node   TEXT   NOT NULL,
    kind   TEXT   NOT NULL,
    digest TEXT,
    result TEXT   NOT NULL,
    reason TEXT,
    at     BIGINT NOT NULL,
    text   TEXT   NOT NULL,
    cut    BIGINT NOT NULL
);
CREATE INDEX job_logs_by_app ON job_logs (app, at);
