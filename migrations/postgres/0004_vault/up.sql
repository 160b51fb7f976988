-- What members keep sealed. The value is a box that only its member opens; at rest it is sealed once more (`sealed`).

CREATE TABLE vault_entry (
    mesh_id     TEXT COLLATE "C" NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    member_id   TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    entry_type  TEXT COLLATE "C" NOT NULL CHECK (entry_type IN ('env', 'file')),
    mount_path  TEXT COLLATE "C",
    description TEXT COLLATE "C",
    -- Of what was signed; 0 for what was not.
    version     BIGINT NOT NULL CHECK (version >= 0),
    -- The highest version there was: nothing signed comes back from before it.
    least       BIGINT NOT NULL,
    sealed      TEXT COLLATE "C" NOT NULL,
    bytes       BIGINT NOT NULL CHECK (bytes >= 0),
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (mesh_id, member_id, key),
    FOREIGN KEY (mesh_id, member_id) REFERENCES member (mesh_id, id)
);

-- Whether a deploy may bring its secrets in clear.
ALTER TABLE mesh ADD COLUMN plain_env BOOLEAN NOT NULL DEFAULT TRUE;
-- Which at-rest key it is: one more with each rotation.
ALTER TABLE meta ADD COLUMN key_version BIGINT NOT NULL DEFAULT 1;
