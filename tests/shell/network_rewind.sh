#!/bin/bash
# network_rewind.sh, as the database's user on a database host. See common.sh.

. "$(dirname "$0")/common.sh"
exec >>"$RECOVERY_LOG_DIR" 2>&1

check_disk() { # DIRECTORY
    local file=$1/rw_status_file_$RANDOM$RANDOM
    stat "$1" >/dev/null && echo test >"$file" && stat "$file" >/dev/null &&
        cat "$file" >/dev/null && rm "$file"
}

# A column of this node's row in what the pool says.
pool_says() { # ADDRESS COLUMN
    echo "$nodes" | awk -F'|' -v host="$1" -v column="$2" '
        NR == 1 { for (i = 1; i <= NF; i++) { name = $i; gsub(/ /, "", name); at[name] = i } }
        { cell = $at["hostname"]; gsub(/ /, "", cell) }
        cell == host { value = $at[column]; gsub(/ /, "", value); print value }'
}

pool_primary() {
    local host
    for host in "${KB_ALL_IP[@]}"; do
        if [ "$(pool_says "$host" role)" = primary ]; then echo "$host"; fi
    done
}

streams() {
    [ "$(ksql_value "$primary" "select count(*) from pg_stat_replication where
        application_name = '$NODE_NAME' and state in ('streaming', 'catchup')")" = 1 ]
}

echo "---------------------------------------------------------------------"
echo "$(now) recover beging..."
echo "my pid is $$,officially began to perform recovery"
echo "$(now) check read/write on mount point"
check_disk "$KB_DATA_PATH" || exit 66
echo "$(now) check if the network is ok"
ping_trust_ip || exit 66
echo "ping trust ip $KB_GATEWAY_IP success ping times :[$PING_TIMES], success times:[$success_times]"

echo "determine if i am master or standby"
nodes=$(pool_nodes)
echo "$nodes"
echo "$nodes" >"$KB_CLUSTER_STATUS"
primary=$(pool_primary)
if [ "$primary" = "$KB_LOCALHOST_IP" ]; then
    echo "i am primary in cluster"
    "$CMD_IP_PATH/ip" addr show dev "$DEV" | grep -q "$VIP/" || echo "no VIP"
    ksql_value "$primary" "select application_name, sync_state from pg_stat_replication"
    exit 0
fi

echo "i am standby in cluster,determine if recovery is needed"
echo "$(now) now will del vip [$KB_VIP]"
if "$CMD_IP_PATH/ip" addr show dev "$DEV" | grep -q "$VIP/"; then
    on_host root localhost "$CMD_IP_PATH/ip addr del $KB_VIP dev $DEV"
else
    echo "but no $KB_VIP on my DEV, nothing to do with del"
fi

# Ten times, three seconds apart, also where no database runs that could stream.
# recovery.log: "16:42:03 now will del vip", "retry times:[1/10]" to "[10/10]", then "16:42:34 sys_rewind..."
tries=0
until streams; do
    tries=$((tries + 1))
    echo "ksql execute success,but node:$NODE_NAME does not have correct streaming(or catchup) replication ,will retry ,retry times:[$tries/10]"
    sleep 3
    if [ $tries = 10 ]; then break; fi
done
if [ $tries -lt 10 ]; then
    if [ "$(pool_says "$KB_LOCALHOST_IP" status)" = up ]; then exit 0; fi
fi

if [ $tries = 10 ]; then
    echo "if recover node up, let it down , for rewind"
    "$KB_PATH/pg_ctl" -D "$KB_DATA_PATH" stop -m fast
    echo "$(now) sys_rewind..."
    PGPASSWORD=$DB_PASS "$KB_PATH/pg_rewind" --target-pgdata="$KB_DATA_PATH" \
        --source-server="host=$primary port=$KB_PORT user=$KB_USER dbname=$KB_DATANAME"
    echo " sed conf change #synchronous_standby_names"
    sed -i 's/^synchronous_standby_names/#&/' "$KB_DATA_PATH/postgresql.conf" \
        "$KB_DATA_PATH/postgresql.auto.conf"
    echo "$(now) file operate"
    cat >>"$KB_DATA_PATH/postgresql.auto.conf" <<END
primary_conninfo = 'host=$primary port=$KB_PORT user=$KB_USER passfile=$HOME/.pgpass application_name=$NODE_NAME'
primary_slot_name = 'slot_$NODE_NAME'
END
    touch "$KB_DATA_PATH/standby.signal"
    rm -f "$KB_DATA_PATH/postmaster.pid"
    for slot in "$KB_DATA_PATH"/pg_replslot/slot_*; do
        if [ -d "$slot" ]; then rm -r "$slot"; fi
    done
    # recovery.log: "16:42:39 start up the kingbase...", then "16:42:41 create the slot": what it takes
    echo "$(now) start up the kingbase..."
    "$KB_PATH/pg_ctl" -D "$KB_DATA_PATH" start -w -l "$(dirname "$RECOVERY_LOG_DIR")/database.log"
    ksql "$KB_LOCALHOST_IP" 'select 33333;'
    for name in "${ALL_NODE_NAME[@]}"; do
        ksql "$KB_LOCALHOST_IP" "select pg_create_physical_replication_slot('slot_$name')"
    done
    echo "$(now) start up standby successful!"
fi

if [ "$SYNC_FLAG" = 1 ]; then
    echo "$(now) remote primary node change sync"
    ksql "$primary" "alter system set synchronous_standby_names = '1 ($(IFS=,; echo "${ALL_NODE_NAME[*]}"))'"
    ksql "$primary" 'select pg_reload_conf()'
    # recovery.log: "16:42:41 remote primary node change sync", then "16:42:44 attach pool..."
    sleep 3
fi

echo "$(now) attach pool..."
pass_file=$(mktemp)
echo "*:*:$PCP_USER:$(echo "$PCP_PASS" | base64 -d)" >"$pass_file"
chmod 600 "$pass_file"
PCPPASSFILE=$pass_file "$CLUSTER_BIN_PATH/pcp_attach_node" -U "$PCP_USER" -w -h "$KB_POOL_VIP" \
    -p "$KB_POOL_PCP_PORT" -n "$(pool_says "$KB_LOCALHOST_IP" node_id)"
rm "$pass_file"
# recovery.log: "16:42:44 attach pool...", then "16:42:45 attach end.."
sleep 1
pool_nodes
echo "$(now) attach end.."
echo "recovery success,exit script with success"
