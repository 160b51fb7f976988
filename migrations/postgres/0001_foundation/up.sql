-- What a broker has to remember to bring its meshes back: who belongs to them, which services should
-- run and from which deployment, what happened to those services, and which sign-ins were already seen.
--
-- Identifiers are UUIDv7 in text, times are UTC milliseconds, structured values are JSON in text.
-- Foreign keys carry the mesh along, so that a row can never point into another mesh.
-- Text is compared by its bytes (COLLATE "C"), as in SQLite: the order of a list is not the server's locale.

CREATE TABLE meta (
    -- One row only: the database is one store with one epoch.
    singleton  INTEGER PRIMARY KEY NOT NULL CHECK (singleton = 1),
    store_id   TEXT COLLATE "C" NOT NULL,
    epoch      BIGINT           NOT NULL CHECK (epoch >= 0),
    -- A known text sealed under the at-rest key: tells a wrong key before the first secret is needed.
    key_check  TEXT COLLATE "C",
    created_at BIGINT           NOT NULL
);

CREATE TABLE mesh (
    id           TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    slug         TEXT COLLATE "C" NOT NULL UNIQUE,
    name         TEXT COLLATE "C" NOT NULL,
    owner_pubkey TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL
);

CREATE TABLE member (
    id           TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    mesh_id      TEXT COLLATE "C" NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    pubkey       TEXT COLLATE "C" NOT NULL,
    display_name TEXT COLLATE "C" NOT NULL,
    role         TEXT COLLATE "C" NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    certificate  TEXT COLLATE "C",
    created_at   BIGINT           NOT NULL,
    removed_at   BIGINT,
    UNIQUE (mesh_id, pubkey),
    UNIQUE (mesh_id, id)
);

CREATE TABLE service (
    mesh_id            TEXT COLLATE "C" NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    name               TEXT COLLATE "C" NOT NULL,
    desired            TEXT COLLATE "C" NOT NULL CHECK (desired IN ('running', 'stopped')),
    active_deployment  TEXT COLLATE "C",
    pending_deployment TEXT COLLATE "C",
    scope              TEXT COLLATE "C" NOT NULL,
    deployed_by        TEXT COLLATE "C" NOT NULL,
    runner             TEXT COLLATE "C",
    description        TEXT COLLATE "C" NOT NULL,
    created_at         BIGINT           NOT NULL,
    updated_at         BIGINT           NOT NULL,
    PRIMARY KEY (mesh_id, name),
    FOREIGN KEY (mesh_id, deployed_by) REFERENCES member (mesh_id, id)
);

CREATE TABLE deployment (
    id         TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    mesh_id    TEXT COLLATE "C" NOT NULL,
    service    TEXT COLLATE "C" NOT NULL,
    source     TEXT COLLATE "C" NOT NULL,
    args       TEXT COLLATE "C" NOT NULL,
    config     TEXT COLLATE "C" NOT NULL,
    env_sealed TEXT COLLATE "C",
    version    TEXT COLLATE "C",
    tools      TEXT COLLATE "C",
    ever_ready BOOLEAN          NOT NULL,
    -- How it ended for good, failed or crashed; NULL while it may run. Kept, so that nobody starts it again unasked.
    ended      TEXT COLLATE "C",
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT           NOT NULL,
    UNIQUE (mesh_id, service, id),
    FOREIGN KEY (mesh_id, service) REFERENCES service (mesh_id, name) ON DELETE CASCADE,
    FOREIGN KEY (mesh_id, created_by) REFERENCES member (mesh_id, id)
);

-- Deferred: a first deployment and its service name each other within one transaction.
ALTER TABLE service
    ADD FOREIGN KEY (mesh_id, name, active_deployment)
        REFERENCES deployment (mesh_id, service, id) DEFERRABLE INITIALLY DEFERRED,
    ADD FOREIGN KEY (mesh_id, name, pending_deployment)
        REFERENCES deployment (mesh_id, service, id) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE service_event (
    -- The order of what happened is this number, never the clock.
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY NOT NULL,
    id         TEXT COLLATE "C" NOT NULL UNIQUE,
    mesh_id    TEXT COLLATE "C" NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    service    TEXT COLLATE "C" NOT NULL,
    deployment TEXT COLLATE "C",
    from_state TEXT COLLATE "C",
    to_state   TEXT COLLATE "C" NOT NULL,
    cause      TEXT COLLATE "C" NOT NULL,
    at         BIGINT           NOT NULL
);
-- Events outlive their service (the last one says that it was removed), so there is no key to it.
CREATE INDEX service_event_by_service ON service_event (mesh_id, service, seq);

CREATE TABLE replay (
    key        TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    expires_at BIGINT           NOT NULL
);
CREATE INDEX replay_by_expiry ON replay (expires_at);
