#!/bin/bash
# failover_stream.sh %H %P %d %h %O %m %M %D, as root on the pool's host. See common.sh.

. "$(dirname "$0")/common.sh"
exec >>"$FAILOVER_LOG_DIR" 2>&1

new_primary=$1 old_primary_id=$2 failed_id=$3 old_primary=$5

echo "-----------------$(now) failover beging---------------------------------------"
echo "----failover-stats is %H = [$1], %P = [$2], %d = [$3], %h = [$4], %O = [$5], %m = [$6], %M = [$7], %D = [$8]"
echo "----ping trust ip"
if ! ping_trust_ip; then
    echo "ping trust ip $KB_GATEWAY_IP failed"
    exit 66
fi
echo "ping trust ip $KB_GATEWAY_IP success"

echo "----determine whether the faulty db is master or standby"
if [ "$failed_id" != "$old_primary_id" ]; then
    echo "standby down"
    exit 0
fi
echo "master down, let $new_primary become new primary....."

# A dead host costs what ssh needs to give up.
# failover.log: "15:39:25 del old primary VIP on 192.168.1.101", then "15:39:29 add VIP on 192.168.1.102"
echo " $(now) del old primary VIP on $old_primary"
on_host root "$old_primary" "$CMD_IP_PATH/ip addr del $KB_VIP dev $DEV;
    su $KB_EXECUTE_SYS_USER -c '$KB_PATH/pg_ctl -D $KB_DATA_PATH stop -m fast'" ||
    echo "ssh connect host:$old_primary failed, can not stop old primary db and del old primary db vip"

# failover.log: "15:39:30 ADD VIP NOW", then "Sent 1 probes", then "15:39:31 promote begin"
echo "$(now) add VIP on $new_primary"
on_host root "$new_primary" "$CMD_IP_PATH/ip addr add $KB_VIP dev $DEV label $DEV:2;
    $CMD_ARPING_PATH/arping -U $VIP -I $DEV -w 1"

echo "$(now) promote begin...let $new_primary become master"
echo "check db if is alive"
ksql "$new_primary" 'select 33333;' || exit 66
echo "execute promote"
on_host "$KB_EXECUTE_SYS_USER" "$new_primary" "$KB_PATH/pg_ctl -D $KB_DATA_PATH promote -W"
# "server promoting" says only that it was asked for.
# failover.log: "15:39:31 kingbase is ok , to prepare execute promote", then "15:39:32 after execute promote"
sleep 1
echo "check db if is alive after promote"
ksql "$new_primary" 'select 33333;' || exit 66
echo "$(now) after execute promote , kingbase status is ok."

echo "$(now) sync to async"
ksql "$new_primary" "alter system set synchronous_standby_names = ''"
ksql "$new_primary" 'select pg_reload_conf()'

# failover.log: "15:39:32 make checkpoint", then "15:39:33 after execute checkpoint": what it takes
echo "$(now) make checkpoint"
ksql "$new_primary" 'select 33333;'
ksql "$new_primary" 'checkpoint'
ksql "$new_primary" 'select 33333;'
echo "$(now) after execute checkpoint, kingbase is ok."
echo "-----------------$(now) failover end---------------------------------------"
