-- What a broker has to remember to bring its meshes back: who belongs to them, which services should
-- run and from which deployment, what happened to those services, and which sign-ins were already seen.
--
-- Identifiers are UUIDv7 in text, times are UTC milliseconds, structured values are JSON in text.
-- Foreign keys carry the mesh along, so that a row can never point into another mesh.

CREATE TABLE meta (
    -- One row only: the database is one store with one epoch.
    singleton  INTEGER PRIMARY KEY NOT NULL CHECK (singleton = 1),
    store_id   TEXT    NOT NULL,
    epoch      BIGINT  NOT NULL CHECK (epoch >= 0),
    -- A known text sealed under the at-rest key: tells a wrong key before the first secret is needed.
    key_check  TEXT,
    created_at BIGINT  NOT NULL
);

CREATE TABLE mesh (
    id           TEXT   PRIMARY KEY NOT NULL,
    slug         TEXT   NOT NULL UNIQUE,
    name         TEXT   NOT NULL,
    owner_pubkey TEXT   NOT NULL,
    created_at   BIGINT NOT NULL
);

CREATE TABLE member (
    id           TEXT   PRIMARY KEY NOT NULL,
    mesh_id      TEXT   NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    pubkey       TEXT   NOT NULL,
    display_name TEXT   NOT NULL,
    role         TEXT   NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    certificate  TEXT,
    created_at   BIGINT NOT NULL,
    removed_at   BIGINT,
    UNIQUE (mesh_id, pubkey),
    UNIQUE (mesh_id, id)
);

CREATE TABLE service (
    mesh_id            TEXT   NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    name               TEXT   NOT NULL,
    desired            TEXT   NOT NULL CHECK (desired IN ('running', 'stopped')),
    active_deployment  TEXT,
    pending_deployment TEXT,
    scope              TEXT   NOT NULL,
    deployed_by        TEXT   NOT NULL,
    runner             TEXT,
    description        TEXT   NOT NULL,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    PRIMARY KEY (mesh_id, name),
    FOREIGN KEY (mesh_id, deployed_by) REFERENCES member (mesh_id, id),
    -- Deferred: a first deployment and its service name each other within one transaction.
    FOREIGN KEY (mesh_id, name, active_deployment)
        REFERENCES deployment (mesh_id, service, id) DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (mesh_id, name, pending_deployment)
        REFERENCES deployment (mesh_id, service, id) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE deployment (
    id         TEXT    PRIMARY KEY NOT NULL,
    mesh_id    TEXT    NOT NULL,
    service    TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    args       TEXT    NOT NULL,
    config     TEXT    NOT NULL,
    env_sealed TEXT,
    version    TEXT,
    tools      TEXT,
    ever_ready BOOLEAN NOT NULL,
    -- How it ended for good, failed or crashed; NULL while it may run. Kept, so that nobody starts it again unasked.
    ended      TEXT,
    created_by TEXT    NOT NULL,
    created_at BIGINT  NOT NULL,
    UNIQUE (mesh_id, service, id),
    FOREIGN KEY (mesh_id, service) REFERENCES service (mesh_id, name) ON DELETE CASCADE,
    FOREIGN KEY (mesh_id, created_by) REFERENCES member (mesh_id, id)
);

CREATE TABLE service_event (
    -- The order of what happened is this number, never the clock.
    seq        INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    id         TEXT    NOT NULL UNIQUE,
    mesh_id    TEXT    NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    service    TEXT    NOT NULL,
    deployment TEXT,
    from_state TEXT,
    to_state   TEXT    NOT NULL,
    cause      TEXT    NOT NULL,
    at         BIGINT  NOT NULL
);
-- Events outlive their service (the last one says that it was removed), so there is no key to it.
CREATE INDEX service_event_by_service ON service_event (mesh_id, service, seq);

CREATE TABLE replay (
    key        TEXT   PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX replay_by_expiry ON replay (expires_at);
