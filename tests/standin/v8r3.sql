-- The functions and views of V8R3 that the tools use, by their names and with the columns of 9.6, in
-- a schema that the database's users find first. In it are also, to be refused, the names that came
-- with 10, and PostgreSQL's own of what V8R3 has renamed.

CREATE SCHEMA sys_catalog;

CREATE FUNCTION sys_catalog.sys_is_in_recovery() RETURNS boolean LANGUAGE sql
    AS 'SELECT pg_catalog.pg_is_in_recovery()';
CREATE FUNCTION sys_catalog.sys_reload_conf() RETURNS boolean LANGUAGE sql
    AS 'SELECT pg_catalog.pg_reload_conf()';
CREATE FUNCTION sys_catalog.sys_current_xlog_location() RETURNS pg_lsn LANGUAGE sql
    AS 'SELECT pg_catalog.pg_current_wal_lsn()';
CREATE FUNCTION sys_catalog.sys_current_xlog_flush_location() RETURNS pg_lsn LANGUAGE sql
    AS 'SELECT pg_catalog.pg_current_wal_flush_lsn()';
CREATE FUNCTION sys_catalog.sys_current_xlog_insert_location() RETURNS pg_lsn LANGUAGE sql
    AS 'SELECT pg_catalog.pg_current_wal_insert_lsn()';
CREATE FUNCTION sys_catalog.sys_last_xlog_receive_location() RETURNS pg_lsn LANGUAGE sql
    AS 'SELECT pg_catalog.pg_last_wal_receive_lsn()';
CREATE FUNCTION sys_catalog.sys_last_xlog_replay_location() RETURNS pg_lsn LANGUAGE sql
    AS 'SELECT pg_catalog.pg_last_wal_replay_lsn()';
CREATE FUNCTION sys_catalog.sys_is_xlog_replay_paused() RETURNS boolean LANGUAGE sql
    AS 'SELECT pg_catalog.pg_is_wal_replay_paused()';
CREATE FUNCTION sys_catalog.sys_xlog_replay_resume() RETURNS void LANGUAGE sql
    AS 'SELECT pg_catalog.pg_wal_replay_resume()';
CREATE FUNCTION sys_catalog.sys_xlog_replay_pause() RETURNS void LANGUAGE sql
    AS 'SELECT pg_catalog.pg_wal_replay_pause()';
CREATE FUNCTION sys_catalog.sys_xlog_location_diff(pg_lsn, pg_lsn) RETURNS numeric LANGUAGE sql
    AS 'SELECT pg_catalog.pg_wal_lsn_diff($1, $2)';
CREATE FUNCTION sys_catalog.sys_xlogfile_name(pg_lsn) RETURNS text LANGUAGE sql
    AS 'SELECT pg_catalog.pg_walfile_name($1)';
CREATE FUNCTION sys_catalog.sys_switch_xlog() RETURNS pg_lsn LANGUAGE sql
    AS 'SELECT pg_catalog.pg_switch_wal()';
CREATE FUNCTION sys_catalog.sys_create_physical_replication_slot(
    slot_name name, immediately_reserve boolean DEFAULT false,
    OUT slot_name_ name, OUT xlog_position pg_lsn) LANGUAGE sql
    AS 'SELECT * FROM pg_catalog.pg_create_physical_replication_slot($1, $2)';
CREATE FUNCTION sys_catalog.sys_create_logical_replication_slot(
    slot_name name, plugin name, OUT slot_name_ text, OUT xlog_position pg_lsn) LANGUAGE sql
    AS 'SELECT slot_name::text, lsn FROM pg_catalog.pg_create_logical_replication_slot($1, $2)';
CREATE FUNCTION sys_catalog.sys_drop_replication_slot(name) RETURNS void LANGUAGE sql
    AS 'SELECT pg_catalog.pg_drop_replication_slot($1)';
CREATE FUNCTION sys_catalog.sys_read_file(text) RETURNS text LANGUAGE sql
    AS 'SELECT pg_catalog.pg_read_file($1)';
CREATE FUNCTION sys_catalog.sys_read_binary_file(text, bigint, bigint, boolean) RETURNS bytea LANGUAGE sql
    AS 'SELECT pg_catalog.pg_read_binary_file($1, $2, $3, $4)';
CREATE FUNCTION sys_catalog.sys_ls_dir(text) RETURNS SETOF text LANGUAGE sql
    AS 'SELECT pg_catalog.pg_ls_dir($1)';
CREATE FUNCTION sys_catalog.sys_database_size(oid) RETURNS bigint LANGUAGE sql
    AS 'SELECT pg_catalog.pg_database_size($1)';
CREATE FUNCTION sys_catalog.sys_blocking_pids(integer) RETURNS integer[] LANGUAGE sql
    AS 'SELECT pg_catalog.pg_blocking_pids($1)';
CREATE FUNCTION sys_catalog.sys_terminate_backend(integer) RETURNS boolean LANGUAGE sql
    AS 'SELECT pg_catalog.pg_terminate_backend($1)';
CREATE FUNCTION sys_catalog.sys_control_checkpoint(
    OUT checkpoint_location pg_lsn, OUT redo_location pg_lsn, OUT redo_wal_file text,
    OUT timeline_id integer, OUT prev_timeline_id integer) LANGUAGE sql
    AS 'SELECT checkpoint_lsn, redo_lsn, redo_wal_file, timeline_id, prev_timeline_id FROM pg_catalog.pg_control_checkpoint()';

CREATE VIEW sys_catalog.sys_database AS SELECT * FROM pg_catalog.pg_database;
CREATE VIEW sys_catalog.sys_tablespace AS SELECT * FROM pg_catalog.pg_tablespace;
CREATE VIEW sys_catalog.sys_replication_slots AS
    SELECT slot_name, plugin, slot_type, datoid, database, active, active_pid, xmin, catalog_xmin,
           restart_lsn, confirmed_flush_lsn
    FROM pg_catalog.pg_replication_slots;
CREATE VIEW sys_catalog.sys_stat_replication AS
    SELECT pid, usesysid, usename, application_name, client_addr, client_hostname, client_port,
           backend_start, backend_xmin, state, sent_lsn AS sent_location,
           write_lsn AS write_location, flush_lsn AS flush_location,
           replay_lsn AS replay_location, sync_priority, sync_state
    FROM pg_catalog.pg_stat_replication;
-- Up to 9.6 the server's own processes, that of the replay above all, are not among the sessions.
CREATE VIEW sys_catalog.sys_stat_activity AS
    SELECT datid, datname, pid, usesysid, usename, application_name, client_addr, client_hostname,
           client_port, backend_start, xact_start, query_start, state_change, wait_event_type,
           wait_event, state, backend_xid, backend_xmin, query
    FROM pg_catalog.pg_stat_activity
    WHERE backend_type IN ('client backend', 'walsender', 'autovacuum worker');
CREATE VIEW sys_catalog.sys_stat_wal_receiver AS
    SELECT pid, status, receive_start_lsn, receive_start_tli, flushed_lsn AS received_lsn,
           received_tli, last_msg_send_time, last_msg_receipt_time, latest_end_lsn,
           latest_end_time, slot_name, conninfo
    FROM pg_catalog.pg_stat_wal_receiver;

-- What is found in the place of what V8R3 has not.
CREATE FUNCTION sys_catalog.not_in_v8r3(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RAISE '% does not exist', what USING ERRCODE = 'undefined_function';
END $$;

DO $$
DECLARE
    it record;
BEGIN
    FOR it IN
        SELECT proname, pg_get_function_identity_arguments(oid) AS arguments
        FROM pg_catalog.pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
          AND proname ~ '^pg_(current_wal_|last_wal_|wal_|walfile_|is_wal_|get_wal_|switch_wal|promote|is_in_recovery|reload_conf|create_(physical|logical)_replication|drop_replication|copy_|read_file|read_binary_file|ls_|stat_file|control_|database_size|blocking_pids)'
    LOOP
        EXECUTE format(
            'CREATE FUNCTION sys_catalog.%I(%s) RETURNS text LANGUAGE plpgsql AS %L',
            it.proname,
            regexp_replace(it.arguments, '(, )?OUT .*$', ''),
            format('BEGIN PERFORM sys_catalog.not_in_v8r3(%L); END', 'function ' || it.proname));
    END LOOP;
    FOR it IN
        SELECT unnest(ARRAY['pg_stat_replication', 'pg_stat_wal_receiver', 'pg_stat_activity', 'pg_replication_slots',
                            'pg_tablespace', 'pg_database']) AS name
    LOOP
        EXECUTE format(
            'CREATE VIEW sys_catalog.%I AS SELECT sys_catalog.not_in_v8r3(%L)',
            it.name, 'relation ' || it.name);
    END LOOP;
END $$;
