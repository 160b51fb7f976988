DROP TABLE replay;
DROP TABLE service_event;
-- The two tables name each other: let go of the deployments first.
UPDATE service SET active_deployment = NULL, pending_deployment = NULL;
DROP TABLE deployment;
DROP TABLE service;
DROP TABLE member;
DROP TABLE mesh;
DROP TABLE meta;
