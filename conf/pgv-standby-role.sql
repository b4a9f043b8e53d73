-- The role as which pgv-standby asks the nodes how far they are: run it on the primary, and standbys have it, too.
-- It sees what is going on and may neither read tables nor write. Give it a password (\password pgv_monitor) and
-- put that into ~/.pgpass, or let pg_hba.conf trust a local socket.
-- Without pg_monitor pgv-standby chooses as well: what decides a lag is seen by everybody. It cannot tell then
-- whether a standby streams, from whom, and how the primary sees it.
CREATE ROLE pgv_monitor LOGIN;
GRANT pg_monitor TO pgv_monitor;
-- For "pgv-standby exec -- pg_dump" of every database (14 and later):
-- GRANT pg_read_all_data TO pgv_monitor;
-- For "pgv-basebackup --from": ALTER ROLE pgv_monitor REPLICATION;
