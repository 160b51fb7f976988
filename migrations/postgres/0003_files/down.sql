DROP INDEX deployment_by_file;
ALTER TABLE deployment DROP COLUMN file_id;
DROP TABLE file;
