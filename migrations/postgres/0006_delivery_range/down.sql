CREATE INDEX delivery_by_message ON delivery (message_seq);
ALTER TABLE message DROP COLUMN last_delivery;
ALTER TABLE message DROP COLUMN first_delivery;
