# The part of scripts/bench about the choice of a node. Sourced by it; like its functions, these run as the server
# account, in a shell of their own.

# stop_nodes: all servers of this part; a stopped one must go on before it can end
stop_nodes() {
    local node
    [ ! -f "$BENCH/silent/postmaster.pid" ] || kill -CONT "$(head -n 1 "$BENCH/silent/postmaster.pid")" || true
    for node in silent standby data; do
        [ ! -f "$BENCH/$node/postmaster.pid" ] || pg_ctl -D "$BENCH/$node" -m immediate stop >/dev/null 2>&1 || true
    done
}

# start_nodes: a primary, a standby, and a server that takes connections and never answers
start_nodes() {
    cd "$BENCH"
    initdb -D data --auth=trust >/dev/null
    cat >>data/postgresql.conf <<END
unix_socket_directories = '$BENCH'
listen_addresses = ''
END
    local node port=$PGPORT
    for node in standby silent; do
        cp -a data "$node"
        touch "$node/standby.signal"
        echo "primary_conninfo = 'host=$BENCH port=$PGPORT'" >>"$node/postgresql.conf"
    done
    for node in data standby silent; do
        pg_ctl -D "$node" -l "$node.log" -o "-p $port" -w start >/dev/null
        port=$((port + 1))
    done
    kill -STOP "$(head -n 1 silent/postmaster.pid)"
}

# nodes STANDBYS SILENT: as options
nodes() {
    local number
    printf -- '--node\np=host=%s port=%s\n' "$BENCH" "$PGPORT"
    for number in $(seq "$1"); do printf -- '--node\ns%s=host=%s port=%s\n' "$number" "$BENCH" $((PGPORT + 1)); done
    for number in $(seq "$2"); do printf -- '--node\nn%s=host=%s port=%s\n' "$number" "$BENCH" $((PGPORT + 2)); done
}

# choice NAME STANDBYS SILENT: times RUNS choices
choice() {
    local name=$1 options begun run
    mapfile -t options < <(nodes "$2" "$3")
    for run in $(seq "$RUNS"); do
        note_load "$name"
        begun=$(now)
        pgv-standby --output conninfo --deadline 3s "${options[@]}" >/dev/null
        echo $(($(now) - begun)) >>"$BENCH/$name.us"
    done
    printf '%-40s %8.1f ms %s\n' "$4" "$(awk -v us="$(median "$BENCH/$name.us")" 'BEGIN { print us / 1000 }')" \
        "$(spread "$BENCH/$name.us" 1000)"
}

bench_standby() {
    set -euo pipefail
    trap stop_nodes EXIT
    # the nodes are given as options
    : >"$PGV_CONFIG"
    start_nodes
    printf '\n%s\n' "$(machine)"
    choice standby_local 3 0 "4 local nodes"
    choice standby_many 11 4 "16 nodes, 4 silent, deadline 3 s"
    cat >"$BENCH/results/standby.json" <<END
{$(machine_json),
 "local_us": $(json_list "$BENCH/standby_local.us"), "local_load": $(json_list "$BENCH/standby_local.load"),
 "many_us": $(json_list "$BENCH/standby_many.us"), "many_load": $(json_list "$BENCH/standby_many.load"),
 "deadline_us": 3000000}
END
}
