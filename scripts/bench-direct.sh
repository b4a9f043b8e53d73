# The parts of scripts/bench with a cluster of their own: full, restore, verify, files, memory and profile. Sourced by it;
# like its functions, these run as the server account, in a shell of their own.

# start_cluster: an empty cluster with its server, a repository for pgv and one for pgBackRest
start_cluster() {
    cd "$BENCH"
    initdb -D data --data-checksums --auth=trust >/dev/null
    cat >>data/postgresql.conf <<END
port = $PGPORT
unix_socket_directories = '$BENCH'
listen_addresses = ''
shared_buffers = 256MB
max_wal_size = 8GB
autovacuum = off
archive_mode = on
archive_command = 'true'
END
    pg_ctl -D data -l log -w start >/dev/null
    write_pgbackrest_conf
}

# the best of pgBackRest: a process for each core, small files in bundles, the fastest level of zstd
write_pgbackrest_conf() {
    mkdir -p "$BENCH/lock"
    cat >"$PGBACKREST_CONFIG" <<END
[global]
repo1-path=$BENCH/pgbackrest
repo1-bundle=y
repo1-retention-full=99
compress-type=zst
compress-level=1
process-max=$(nproc)
start-fast=y
lock-path=$BENCH/lock
log-level-console=warn
log-level-file=off
[bench]
pg1-path=$BENCH/data
pg1-port=$PGPORT
pg1-socket-path=$BENCH
pg1-user=$(id -un)
END
}

# archive_by COMMAND: the server's archive_command from now on, quoted; nothing waits for an older one
archive_by() {
    echo "archive_command = $1" >>data/postgresql.conf
    pg_ctl -D data reload >/dev/null
    psql -XAtqc CHECKPOINT -c 'SELECT pg_switch_wal()' >/dev/null
    while compgen -G 'data/pg_wal/archive_status/*.ready' >/dev/null; do
        sleep 0.1
    done
}

# empty repositories each time: nobody pays for what an earlier run left
fresh_pgv() {
    rm -rf "$BENCH/repository" "$PGV_CONFIG"
    pgv init --repo "$BENCH/repository" --cluster bench >init.txt
    # printed only as long as the server has another one
    [ -n "${ARCHIVE_COMMAND:-}" ] || ARCHIVE_COMMAND=$(archive_command_of init.txt)
    archive_by "$ARCHIVE_COMMAND"
}
fresh_pgbackrest() {
    rm -rf "$BENCH/pgbackrest"
    pgbackrest --stanza=bench stanza-create
    archive_by "'pgbackrest --stanza=bench archive-push %p'"
}

# full_by_pgv NAME [METHOD], full_by_pgbackrest NAME: one full backup, with what it stored
full_by_pgv() {
    fresh_pgv
    measure "$1" pgv-basebackup --method "${2:-direct}" --checkpoint fast
    repository_bytes >>"$BENCH/$1.bytes"
}
full_by_pgbackrest() {
    fresh_pgbackrest
    measure "$1" pgbackrest --stanza=bench --type=full backup
    du -sb "$BENCH/pgbackrest/backup" | cut -f 1 >>"$BENCH/$1.bytes"
}

# in_turns NAME...: commands, RUNS times each, after one of each that does not count; each is called with the name of its
# numbers, which is its own. Who is first must not matter.
in_turns() {
    local run name names=("$@")
    for run in $(seq 0 "$RUNS"); do
        for name in "${names[@]}"; do
            [ "$run" -ne 1 ] || rm -f "$BENCH/$name."{us,cpu,kb,bytes,load}
            "by_$name" "$name"
        done
        names=("${names[@]:1}" "${names[0]}")
    done
}

# report PART LABEL OTHER OURS THEIRS: the table of two sides, and PART.json
report() {
    local name kind separator
    heading "$2, $RUNS of each" "$3"
    row "time, s" "$BENCH/$4.us" "$BENCH/$5.us" 1000000
    load_row "$BENCH/$4.load" "$BENCH/$5.load"
    row "CPU, s" "$BENCH/$4.cpu" "$BENCH/$5.cpu" 1
    row "peak memory, MiB" "$BENCH/$4.kb" "$BENCH/$5.kb" 1024
    [ ! -f "$BENCH/$4.bytes" ] || row "stored, MB" "$BENCH/$4.bytes" "$BENCH/$5.bytes" 1000000
    {
        printf '{%s, "data_bytes": %s' "$(machine_json)" "$DATA_BYTES"
        for name in "$4" "$5"; do
            printf ',\n "%s": {' "$name"
            separator=
            for kind in us cpu kb bytes load; do
                [ -f "$BENCH/$name.$kind" ] || continue
                printf '%s"%s": %s' "$separator" "$kind" "$(json_list "$BENCH/$name.$kind")"
                separator=', '
            done
            printf '}'
        done
        printf '}\n'
    } >"$BENCH/results/$1.json"
}

database_bytes() { psql -XAtqc 'SELECT sum(pg_database_size(oid)) FROM pg_database'; }

# At least --megabytes: rows of about 1 KB, as many of JSON as of text and of bytes that nothing compresses; tables of
# pgbench; indexes; 800 small tables.
fill_mixed() {
    local rows=$((MEGABYTES * 270)) wanted=$((MEGABYTES * 1000000)) more
    psql -XAtq -v ON_ERROR_STOP=1 <<'END'
CREATE EXTENSION pgcrypto;
CREATE TABLE words AS SELECT i, string_agg(substr(md5((i * 7 + j)::text), 1, 2 + (i + j) % 7), ' ' ORDER BY j) AS sentence
    FROM generate_series(1, 4000) AS i, generate_series(1, 12) AS j GROUP BY i;
CREATE INDEX ON words (i);
CREATE TABLE documents (id int, document jsonb);
CREATE TABLE texts (id int, body text);
CREATE TABLE noise (id int, content bytea);
DO $$ BEGIN FOR n IN 1..800 LOOP
    EXECUTE format('CREATE TABLE small_%s (id int PRIMARY KEY, t text)', n);
    EXECUTE format('INSERT INTO small_%s SELECT g, md5(g::text) FROM generate_series(1, %s) AS g', n, 1 + n % 90);
END LOOP; END $$;
END
    add_rows 1 "$rows"
    psql -XAtq -v ON_ERROR_STOP=1 <<'END'
CREATE INDEX ON documents ((document ->> 'name'));
CREATE INDEX ON documents (id);
CREATE INDEX ON texts (substr(body, 1, 60));
CREATE INDEX ON noise (substr(content, 1, 16));
END
    pgbench -i -q -s $((MEGABYTES / 80)) >/dev/null 2>&1
    while psql -XAtqc 'VACUUM (FREEZE, ANALYZE)' -c CHECKPOINT && DATA_BYTES=$(database_bytes) &&
        [ "$DATA_BYTES" -lt "$wanted" ]; do
        # a row of each kind takes about so much, with its indexes
        more=$(((wanted - DATA_BYTES) / 2800 + 1))
        add_rows $((rows + 1)) $((rows + more))
        rows=$((rows + more))
    done
}

# add_rows FIRST LAST: rows of these numbers to each of the three large tables
add_rows() {
    psql -XAtq -v ON_ERROR_STOP=1 -v "first=$1" -v "last=$2" <<'END'
INSERT INTO documents SELECT i, jsonb_build_object('id', i, 'name', md5(i::text), 'when', now() - i * interval '1 s',
    'amount', (i::bigint * 7919 % 100003) / 100.0, 'tags', jsonb_build_array('a' || i % 10, 'b' || i % 100, 'c' || i % 1000),
    'lines', jsonb_build_array(jsonb_build_object('sku', md5((i % 5000)::text), 'count', i % 9, 'price', i % 977),
        jsonb_build_object('sku', md5((i % 4999)::text), 'count', i % 8, 'price', i % 911),
        jsonb_build_object('sku', md5((i % 4993)::text), 'count', i % 7, 'price', i % 877)),
    'note', repeat('order ' || i % 1000 || ' ', 20)) FROM generate_series(:first, :last) AS i;
INSERT INTO texts SELECT i, (SELECT string_agg(sentence, '. ') FROM words
    WHERE words.i IN (1 + i % 3989, 1 + i % 3967, 1 + i * 31 % 3947, 1 + i * 17 % 3943, 1 + i * 13 % 3931, 1 + i * 11 % 3929,
        1 + i * 7 % 3923, 1 + i * 5 % 3919, 1 + i * 3 % 3917, 1 + i * 19 % 3911, 1 + i * 23 % 3907))
    FROM generate_series(:first, :last) AS i;
INSERT INTO noise SELECT i, gen_random_bytes(960) FROM generate_series(:first, :last) AS i;
END
}

by_pgv_full() { full_by_pgv "$1"; }
by_pgbackrest_full() { full_by_pgbackrest "$1"; }

bench_full() {
    in_turns pgv_full pgbackrest_full
    report full "full backup of $((DATA_BYTES / 1000000)) MB" pgBackRest pgv_full pgbackrest_full
}

# Both make the same files: what is copied plainly is what pgv restored.
by_pgv_restore() {
    rm -rf "$BENCH/restored"
    timed "$1" pgv-restore -D "$BENCH/restored"
}
by_cp_restore() {
    rm -rf "$BENCH/plain"
    timed "$1" sh -c 'cp -r "$1" "$2" && sync -f "$2"' - "$BENCH/restored" "$BENCH/plain"
}
by_pgv_delta() { timed "$1" pgv-restore -D "$BENCH/restored" --delta; }
by_cat() { timed "$1" sh -c 'find "$1" -type f -print0 | xargs -0 cat >/dev/null' - "$BENCH/restored"; }

bench_restore() {
    # full_by_pgv warms nothing that a restore needs
    fresh_pgv
    pgv-basebackup --method direct --checkpoint fast >/dev/null 2>&1
    pgv-restore -D "$BENCH/restored" >/dev/null 2>&1
    in_turns pgv_restore cp_restore
    report restore "restore of $((DATA_BYTES / 1000000)) MB" "cp -r, sync" pgv_restore cp_restore
    in_turns pgv_delta cat
    report delta "restore --delta, nothing to do" "cat" pgv_delta cat
    rm -rf "$BENCH/restored" "$BENCH/plain"
}

bench_verify_mixed() {
    fresh_pgv
    verify_when_full "mixed data"
}

# profile_of NAME COMMAND...: its busiest functions
profile_of() {
    local name=$1
    shift
    sync
    perf record -q -e cpu-clock -F 1999 -o "$BENCH/$name.perf" -- "$@" >"$BENCH/$name.out" 2>&1 ||
        { cat "$BENCH/$name.out" && return 1; }
    printf '\n%s of %s MB, part of its CPU by function\n' "$name" $((DATA_BYTES / 1000000))
    perf report -q -i "$BENCH/$name.perf" --no-children --stdio -F overhead,symbol -w 9,100 2>/dev/null |
        awk 'NF && ++rows <= 16'
}

bench_profile() {
    fresh_pgv
    profile_of backup pgv-basebackup --method direct --checkpoint fast
    profile_of restore pgv-restore -D "$BENCH/restored"
    profile_of delta pgv-restore -D "$BENCH/restored" --delta
}

# full, restore and verify, of the same cluster, which ends with the last
bench_large() {
    fill_mixed
    case $WHAT in
    full) bench_full ;;
    restore) bench_restore ;;
    verify) bench_verify_mixed ;;
    profile) bench_profile | tee "$BENCH/results/profile.txt" ;;
    *) bench_full && bench_restore && bench_verify_mixed ;;
    esac
}

# plant_pages COUNT: files of relations in the data directory: a third is empty, the others are one page
plant_pages() {
    local folder
    folder=data/base/$(psql -XAtqc "SELECT oid FROM pg_database WHERE datname = 'postgres'")
    python3 - "$folder" "$1" <<'END'
import sys
folder, count = sys.argv[1], int(sys.argv[2])
with open(f"{folder}/1249", "rb") as real:
    page = real.read(8192)
for number in range(10_000_000, 10_000_000 + count):
    with open(f"{folder}/{number}", "wb") as file:
        file.write(page if number % 3 else b"")
END
    DATA_BYTES=$(du -sb data/base | cut -f 1)
}

by_pgv_files() { full_by_pgv "$1"; }
by_pgbackrest_files() { full_by_pgbackrest "$1"; }

bench_files() {
    plant_pages "$FILES"
    in_turns pgv_files pgbackrest_files
    report files "full backup of $FILES small files" pgBackRest pgv_files pgbackrest_files
}

# Names are what takes memory: the files are links to a few hundred of 64 bytes. Half of them are in one directory.
bench_memory() {
    python3 - data/extra "$FILES" <<'END'
import os, sys
folder, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    if number % 10_000 == 0:
        below = f"{folder}/{number // 10_000:06}" if number >= count // 2 else f"{folder}/half"
        os.makedirs(below, exist_ok=True)
    # no file system lets a file have more names than this
    if number % 30_000 == 0:
        first = f"{below}/{number:012}"
        with open(first, "wb") as file:
            file.write(number.to_bytes(8, "big") * 8)
    else:
        os.link(first, f"{below}/{number:012}")
END
    DATA_BYTES=$((FILES * 64))
    local method
    for method in direct stream; do
        full_by_pgv "backup_$method" "$method"
        timed "restore_$method" pgv-restore -D "$BENCH/restored"
        rm -rf "$BENCH/restored"
        heading "$FILES files, once, method $method" ''
        own "backup, s" "$BENCH/backup_$method.us" 1000000
        own "peak memory of backup, MiB (< 192)" "$BENCH/backup_$method.kb" 1024
        own "restore, s" "$BENCH/restore_$method.us" 1000000
        own "peak memory of restore, MiB (< 192)" "$BENCH/restore_$method.kb" 1024
    done
    {
        printf '{%s, "files": %s' "$(machine_json)" "$FILES"
        for method in direct stream; do
            printf ',\n "%s": {"backup_us": %s, "backup_kib": %s, "restore_us": %s, "restore_kib": %s}' "$method" \
                "$(json_list "$BENCH/backup_$method.us")" "$(json_list "$BENCH/backup_$method.kb")" \
                "$(json_list "$BENCH/restore_$method.us")" "$(json_list "$BENCH/restore_$method.kb")"
        done
        printf '}\n'
    } >"$BENCH/results/memory.json"
}

bench_direct() {
    set -euo pipefail
    trap stop_server EXIT
    start_cluster
    printf '\n%s\n' "$(machine)"
    case $WHAT in
    files) bench_files ;;
    memory) bench_memory ;;
    *) bench_large ;;
    esac
}
