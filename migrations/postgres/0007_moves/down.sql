ALTER TABLE service DROP COLUMN trial_ends_at;
ALTER TABLE service DROP COLUMN trial_before;
ALTER TABLE service DROP COLUMN moving_to;
