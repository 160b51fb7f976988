-- A message's deliveries are found by their numbers, which are given together, in place of an index that each of them
-- would be put into. Nobody else's are mistaken for its own: `delivery.message_seq` says whose they are.
ALTER TABLE message ADD COLUMN first_delivery BIGINT NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN last_delivery BIGINT NOT NULL DEFAULT 0;
UPDATE message SET
    first_delivery = coalesce((SELECT min(id) FROM delivery WHERE message_seq = message.seq), 0),
    last_delivery = coalesce((SELECT max(id) FROM delivery WHERE message_seq = message.seq), 0);
DROP INDEX delivery_by_message;
