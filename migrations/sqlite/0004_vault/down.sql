ALTER TABLE meta DROP COLUMN key_version;
ALTER TABLE mesh DROP COLUMN plain_env;
DROP TABLE vault_entry;
