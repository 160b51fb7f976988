-- A service on its way to another runner, and the trial of what replaced another deployment: both outlive the broker.

-- The runner where the pending deployment comes up, where that is not the service's own.
ALTER TABLE service ADD COLUMN moving_to TEXT COLLATE "C";
-- The deployment that comes back when the active one dies before this moment.
ALTER TABLE service ADD COLUMN trial_before TEXT COLLATE "C";
ALTER TABLE service ADD COLUMN trial_ends_at BIGINT;
