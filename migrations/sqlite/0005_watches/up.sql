-- Addresses that are looked at for members, and what was seen there. A value changes in one transaction with the message
-- that says so.

CREATE TABLE watch (
    mesh_id        TEXT NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    id             TEXT NOT NULL,
    member_id      TEXT NOT NULL,
    url            TEXT NOT NULL,
    mode           TEXT NOT NULL,
    extract        TEXT,
    interval_ms    BIGINT  NOT NULL CHECK (interval_ms > 0),
    notify         TEXT NOT NULL,
    headers_sealed TEXT,
    label          TEXT,
    priority       SMALLINT NOT NULL,
    fail_after     INTEGER NOT NULL,
    settle         INTEGER NOT NULL,
    version        BIGINT  NOT NULL,
    value          TEXT,
    hash           TEXT,
    failing        BOOLEAN NOT NULL,
    created_at     BIGINT  NOT NULL,
    PRIMARY KEY (mesh_id, id),
    FOREIGN KEY (mesh_id, member_id) REFERENCES member (mesh_id, id)
);
CREATE INDEX watch_by_member ON watch (mesh_id, member_id);

-- What happened to each: the last ones.
CREATE TABLE watch_change (
    mesh_id    TEXT NOT NULL,
    watch_id   TEXT NOT NULL,
    number     BIGINT  NOT NULL,
    kind       TEXT NOT NULL,
    old_value  TEXT,
    new_value  TEXT,
    message_id TEXT,
    at         BIGINT  NOT NULL,
    PRIMARY KEY (mesh_id, watch_id, number),
    FOREIGN KEY (mesh_id, watch_id) REFERENCES watch (mesh_id, id) ON DELETE CASCADE
);
