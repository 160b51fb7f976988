DROP TABLE delivery;
DROP TABLE message;
DROP TABLE session;
DROP TABLE group_list;
DROP TABLE invite;
ALTER TABLE member DROP COLUMN removal;
ALTER TABLE member DROP COLUMN serial;
ALTER TABLE mesh DROP COLUMN message_ttl_ms;
ALTER TABLE mesh DROP COLUMN require_proofs;
