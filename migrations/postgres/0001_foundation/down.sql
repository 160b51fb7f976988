DROP TABLE replay;
DROP TABLE service_event;
-- The two tables name each other: let go of the deployments first.
ALTER TABLE service
    DROP CONSTRAINT service_mesh_id_name_active_deployment_fkey,
    DROP CONSTRAINT service_mesh_id_name_pending_deployment_fkey;
DROP TABLE deployment;
DROP TABLE service;
DROP TABLE member;
DROP TABLE mesh;
DROP TABLE meta;
