DROP TABLE watch_change;
DROP TABLE watch;
