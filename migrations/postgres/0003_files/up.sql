-- What members uploaded. The bytes lie beside the database, under the mesh's and the file's id.

CREATE TABLE file (
    id         TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    mesh_id    TEXT COLLATE "C" NOT NULL REFERENCES mesh (id) ON DELETE CASCADE,
    member_id  TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    sha256     TEXT COLLATE "C" NOT NULL,
    bytes      BIGINT  NOT NULL CHECK (bytes >= 0),
    tags       TEXT COLLATE "C" NOT NULL,
    persistent BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL,
    FOREIGN KEY (mesh_id, member_id) REFERENCES member (mesh_id, id)
);
CREATE INDEX file_by_mesh ON file (mesh_id, created_at);

-- The file that a deployment is built from: it stays as long as the deployment is kept.
ALTER TABLE deployment ADD COLUMN file_id TEXT COLLATE "C";
CREATE INDEX deployment_by_file ON deployment (file_id) WHERE file_id IS NOT NULL;
