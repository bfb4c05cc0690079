# What both scripts share. They are what `make bench` measures the tools against: the steps of the
# case study, in its order and with its waits. Each wait has the lines of the case study's log that show
# it. They are no tools: nothing is checked that the case study's scripts do not check.

CONF=${CONF:-$(dirname "$0")/../etc/HAmodule.conf}
eval "$(cat "$CONF")"

DB_PASS=$(echo "$KB_PASS" | base64 -d)
VIP=${KB_VIP%/*}

now() { date '+%F %T'; }

# The SQL client on a host's database.
ksql() { # HOST SQL
    PGPASSWORD=$DB_PASS PGCONNECT_TIMEOUT=10 "$KB_PATH/psql" -h "$1" -p "$KB_PORT" -U "$KB_USER" \
        -d "$KB_DATANAME" -c "$2"
}

ksql_value() { # HOST SQL
    PGPASSWORD=$DB_PASS PGCONNECT_TIMEOUT=10 "$KB_PATH/psql" -h "$1" -p "$KB_PORT" -U "$KB_USER" \
        -d "$KB_DATANAME" -At -c "$2"
}

pool_nodes() {
    PGPASSWORD=$DB_PASS PGCONNECT_TIMEOUT=10 "$KB_PATH/psql" -h "$KB_POOL_VIP" -p "$KB_POOL_PORT" \
        -U "$KB_USER" -d "$KB_DATANAME" -c 'show pool_nodes;'
}

on_host() { # USER HOST COMMAND
    ssh -T -o StrictHostKeyChecking=no -o ConnectTimeout="${CONNECTTIMEOUT:-10}" "$1@$2" "$3"
}

ping_trust_ip() {
    # Three packets, a second apart, of which the third comes too late: two seconds.
    # failover.log: "15:39:23 failover beging", then "15:39:25 del old primary VIP"
    # recovery.log: "16:42:01 check if the network is ok", then "success times:[2]" and "16:42:03 now will del vip"
    success_times=$(ping -n -c "$PING_TIMES" -w 2 "$KB_GATEWAY_IP" | grep -c 'bytes from')
    [ "$success_times" -gt 0 ]
}
