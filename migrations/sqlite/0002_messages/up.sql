-- What a broker has to remember of people who talk: what was said about members, who may join, who was
-- here under which key, and the messages that somebody has yet to get.
--
-- Numbers of messages and deliveries are given by the broker, rising over both; they are the order.
-- A delivery is pending until it has an end. What asks for pending ones says `ended_at IS NULL`.

ALTER TABLE mesh ADD COLUMN require_proofs BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE mesh ADD COLUMN message_ttl_ms BIGINT NOT NULL DEFAULT 604800000;

-- The highest serial of a statement about it; the statement that removed it.
ALTER TABLE member ADD COLUMN serial BIGINT NOT NULL DEFAULT 0;
ALTER TABLE member ADD COLUMN removal TEXT;

CREATE TABLE invite (
    id           TEXT    PRIMARY KEY NOT NULL,
    mesh_id      TEXT    NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    -- The token itself is its holder's.
    token_sha256 TEXT    NOT NULL UNIQUE,
    role         TEXT    NOT NULL CHECK (role IN ('admin', 'member')),
    max_uses     INTEGER NOT NULL CHECK (max_uses > 0),
    used         INTEGER NOT NULL,
    expires_at   BIGINT  NOT NULL,
    created_by   TEXT    NOT NULL,
    created_at   BIGINT  NOT NULL,
    revoked_at   BIGINT,
    FOREIGN KEY (mesh_id, created_by) REFERENCES member (mesh_id, id)
);
CREATE INDEX invite_by_expiry ON invite (mesh_id, expires_at);

CREATE TABLE group_list (
    mesh_id   TEXT   NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    name      TEXT   NOT NULL,
    serial    BIGINT NOT NULL,
    -- The signed list of a restricted group, or the signed word that it is open again.
    statement TEXT   NOT NULL,
    PRIMARY KEY (mesh_id, name)
);

CREATE TABLE session (
    mesh_id       TEXT    NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    pubkey        TEXT    NOT NULL,
    member_id     TEXT    NOT NULL,
    session_id    TEXT    NOT NULL,
    kind          TEXT    NOT NULL CHECK (kind IN ('session', 'proxy', 'cli')),
    display_name  TEXT    NOT NULL,
    summary       TEXT,
    groups        TEXT    NOT NULL,
    profile       TEXT,
    stats         TEXT,
    visible       BOOLEAN NOT NULL,
    present       BOOLEAN NOT NULL,
    about         TEXT    NOT NULL,
    first_seen_at BIGINT  NOT NULL,
    last_seen_at  BIGINT  NOT NULL,
    PRIMARY KEY (mesh_id, pubkey),
    FOREIGN KEY (mesh_id, member_id) REFERENCES member (mesh_id, id)
);
CREATE INDEX session_by_session_id ON session (mesh_id, member_id, session_id, last_seen_at);
CREATE INDEX session_by_last_seen ON session (mesh_id, last_seen_at);

CREATE TABLE message (
    seq               INTEGER  PRIMARY KEY NOT NULL,
    id                TEXT     NOT NULL UNIQUE,
    mesh_id           TEXT     NOT NULL,
    -- A key, or `system`.
    sender            TEXT     NOT NULL,
    sender_member     TEXT,
    sender_session_id TEXT,
    client_id         TEXT,
    digest            TEXT,
    target            TEXT     NOT NULL,
    priority          SMALLINT NOT NULL,
    nonce             TEXT     NOT NULL,
    ciphertext        TEXT     NOT NULL,
    extra             TEXT,
    ack               TEXT     NOT NULL,
    created_at        BIGINT   NOT NULL,
    expires_at        BIGINT   NOT NULL,
    -- What a sender says twice is one message. Without a name of the sender's for it nothing collides. A member is of
    -- one mesh; and an index that began with the mesh would tempt SQLite to read all of a mesh's messages.
    UNIQUE (sender_member, sender_session_id, client_id)
);
CREATE INDEX message_by_expiry ON message (expires_at);

-- Without a foreign key: it would be looked up for each row of a broadcast, and only `prune` removes messages.
CREATE TABLE delivery (
    id          INTEGER  PRIMARY KEY NOT NULL,
    message_seq BIGINT   NOT NULL,
    mesh_id     TEXT     NOT NULL,
    mailbox     TEXT     NOT NULL,
    of_member   BOOLEAN  NOT NULL,
    priority    SMALLINT NOT NULL,
    bytes       INTEGER  NOT NULL,
    wrapped_key TEXT,
    -- 0 pending, 1 delivered, 2 expired, 3 dropped.
    state       SMALLINT NOT NULL CHECK (state BETWEEN 0 AND 3),
    reason      TEXT,
    ended_at    BIGINT
);
CREATE INDEX delivery_pending ON delivery (mesh_id, mailbox, priority, message_seq) WHERE ended_at IS NULL;
CREATE INDEX delivery_by_message ON delivery (message_seq);
