-- What a broker has to remember of people who talk: what was said about members, who may join, who was
-- here under which key, and the messages that somebody has yet to get.
--
-- Numbers of messages and deliveries are given by the broker, rising over both; they are the order.
-- Text is compared by its bytes (COLLATE "C"), as in SQLite.
-- A delivery is pending until it has an end. What asks for pending ones says `ended_at IS NULL`.

ALTER TABLE mesh ADD COLUMN require_proofs BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE mesh ADD COLUMN message_ttl_ms BIGINT NOT NULL DEFAULT 604800000;

-- The highest serial of a statement about it; the statement that removed it.
ALTER TABLE member ADD COLUMN serial BIGINT NOT NULL DEFAULT 0;
ALTER TABLE member ADD COLUMN removal TEXT COLLATE "C";

CREATE TABLE invite (
    id           TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    mesh_id      TEXT COLLATE "C" NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    -- The token itself is its holder's.
    token_sha256 TEXT COLLATE "C" NOT NULL UNIQUE,
    role         TEXT COLLATE "C" NOT NULL CHECK (role IN ('admin', 'member')),
    max_uses     INTEGER          NOT NULL CHECK (max_uses > 0),
    used         INTEGER          NOT NULL,
    expires_at   BIGINT           NOT NULL,
    created_by   TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL,
    revoked_at   BIGINT,
    FOREIGN KEY (mesh_id, created_by) REFERENCES member (mesh_id, id)
);
CREATE INDEX invite_by_expiry ON invite (mesh_id, expires_at);

CREATE TABLE group_list (
    mesh_id   TEXT COLLATE "C" NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    name      TEXT COLLATE "C" NOT NULL,
    serial    BIGINT           NOT NULL,
    -- The signed list of a restricted group, or the signed word that it is open again.
    statement TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (mesh_id, name)
);

CREATE TABLE session (
    mesh_id       TEXT COLLATE "C" NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    pubkey        TEXT COLLATE "C" NOT NULL,
    member_id     TEXT COLLATE "C" NOT NULL,
    session_id    TEXT COLLATE "C" NOT NULL,
    kind          TEXT COLLATE "C" NOT NULL CHECK (kind IN ('session', 'proxy', 'cli')),
    display_name  TEXT COLLATE "C" NOT NULL,
    summary       TEXT COLLATE "C",
    groups        TEXT COLLATE "C" NOT NULL,
    profile       TEXT COLLATE "C",
    stats         TEXT COLLATE "C",
    visible       BOOLEAN          NOT NULL,
    present       BOOLEAN          NOT NULL,
    about         TEXT COLLATE "C" NOT NULL,
    first_seen_at BIGINT           NOT NULL,
    last_seen_at  BIGINT           NOT NULL,
    PRIMARY KEY (mesh_id, pubkey),
    FOREIGN KEY (mesh_id, member_id) REFERENCES member (mesh_id, id)
);
CREATE INDEX session_by_session_id ON session (mesh_id, member_id, session_id, last_seen_at);
CREATE INDEX session_by_last_seen ON session (mesh_id, last_seen_at);

CREATE TABLE message (
    seq               BIGINT           PRIMARY KEY NOT NULL,
    id                TEXT COLLATE "C" NOT NULL UNIQUE,
    mesh_id           TEXT COLLATE "C" NOT NULL,
    -- A key, or `system`.
    sender            TEXT COLLATE "C" NOT NULL,
    sender_member     TEXT COLLATE "C",
    sender_session_id TEXT COLLATE "C",
    client_id         TEXT COLLATE "C",
    digest            TEXT COLLATE "C",
    target            TEXT COLLATE "C" NOT NULL,
    priority          SMALLINT         NOT NULL,
    nonce             TEXT COLLATE "C" NOT NULL,
    ciphertext        TEXT COLLATE "C" NOT NULL,
    extra             TEXT COLLATE "C",
    ack               TEXT COLLATE "C" NOT NULL,
    created_at        BIGINT           NOT NULL,
    expires_at        BIGINT           NOT NULL,
    -- What a sender says twice is one message. Without a name of the sender's for it nothing collides. A member is of
    -- one mesh; and an index that began with the mesh would tempt SQLite to read all of a mesh's messages.
    UNIQUE (sender_member, sender_session_id, client_id)
);
CREATE INDEX message_by_expiry ON message (expires_at);

-- Without a foreign key: it would be looked up for each row of a broadcast, and only `prune` removes messages.
CREATE TABLE delivery (
    id          BIGINT           PRIMARY KEY NOT NULL,
    message_seq BIGINT           NOT NULL,
    mesh_id     TEXT COLLATE "C" NOT NULL,
    mailbox     TEXT COLLATE "C" NOT NULL,
    of_member   BOOLEAN          NOT NULL,
    priority    SMALLINT         NOT NULL,
    bytes       INTEGER          NOT NULL,
    wrapped_key TEXT COLLATE "C",
    -- 0 pending, 1 delivered, 2 expired, 3 dropped.
    state       SMALLINT         NOT NULL CHECK (state BETWEEN 0 AND 3),
    reason      TEXT COLLATE "C",
    ended_at    BIGINT
);
CREATE INDEX delivery_pending ON delivery (mesh_id, mailbox, priority, message_seq) WHERE ended_at IS NULL;
CREATE INDEX delivery_by_message ON delivery (message_seq);
