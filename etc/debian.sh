#!/bin/sh
# Sets up a host with Debian's own packages, postgresql-15 (or later) and pgpool2: docs/install.md, "On
# Debian's packages". No configuration is moved, and what a package has written stays in its file.
#
#     debian.sh install [BUILT_TOOLS_DIRECTORY]
#     debian.sh primary
#     debian.sh standby [PRIMARY_ADDRESS]
#     debian.sh start
#     debian.sh uninstall [BUILT_TOOLS_DIRECTORY]
#
# install: the tools into /opt/failover-tools, with what they need around them. primary, standby: what server
# and pool have to know, from HAmodule.conf, and this host's server as the primary, or as a copy of it. Each can
# be run again. start: the pool anew, and cron's line. uninstall: the tools, and what is ours in the pool's files.
# Nothing is restarted by it.
set -eu
umask 022

root=/opt/failover-tools
conf=$root/db/etc/HAmodule.conf
begin="# failover-tools: begin (made from HAmodule.conf by debian.sh)"
end="# failover-tools: end"
here=$(dirname -- "$(readlink -f -- "$0")")

fail() {
    echo "debian.sh: $*" >&2
    exit 1
}

say() {
    echo "debian.sh: $*"
}

get() { # KEY
    "$root/db/bin/failover_stream" --print-config "$1"
}

# One with several words: (a b), "(a b)", "a,b".
list() { # KEY
    get "$1" | tr -s '(),' ' '
}

# A password, in clear. The pool's files have no way to write some characters.
password() { # KEY
    text=$(get "$1" | base64 -d) || fail "$1: not a password in base64"
    case $text in
    '' | *[!\ -~]* | *[\'\\:\ ]*)
        fail "$1: the pool's files need a password of letters, digits and signs, without ' \\ : and blanks" ;;
    esac
    printf %s "$text"
}

# Ours are between the marks, both of them.
check_marks() { # FILE
    [ "$(grep -cxF -e "$begin" "$1")" = "$(grep -cxF -e "$end" "$1")" ] ||
        fail "$1: \"$begin\" without \"$end\": take out what is ours by hand"
}

# Puts standard input into a file: in the place of what an earlier run has put there, else at its end. Owner and
# mode stay.
put() { # FILE
    check_marks "$1"
    new=$1.failover-tools.new
    block=$({ echo "$begin" && cat && echo "$end"; })
    cp -p -- "$1" "$new"
    block=$block awk -v begin="$begin" -v end="$end" '
        $0 == begin { print ENVIRON["block"]; ours = done = 1 }
        !ours { print }
        $0 == end { ours = 0 }
        END { if (!done) print ENVIRON["block"] }' "$1" >"$new"
    mv -f -- "$new" "$1"
}

# Takes out what was put in.
take() { # FILE
    [ -e "$1" ] || return 0
    check_marks "$1"
    cp -p -- "$1" "$1.failover-tools.new"
    sed "\\|^$begin\$|,\\|^$end\$|d" "$1" >"$1.failover-tools.new"
    mv -f -- "$1.failover-tools.new" "$1"
}

# Makes standard input a file of its own.
write() { # FILE MODE OWNER:GROUP
    (umask 077 && cat >"$1.failover-tools.new")
    chmod "$2" "$1.failover-tools.new"
    chown "$3" "$1.failover-tools.new"
    mv -f -- "$1.failover-tools.new" "$1"
}

as_postgres() {
    (cd / && runuser -u postgres -- "$@")
}

install_all() { # BUILT
    version=$(ls -d /etc/postgresql/*/main 2>/dev/null | cut -d/ -f4 | sort -V | tail -n 1)
    [ -e "$conf" ] || [ -n "$version" ] || fail "no cluster in /etc/postgresql: apt-get install postgresql-15"
    [ -d /etc/pgpool2 ] || fail "no /etc/pgpool2: apt-get install pgpool2"
    mkdir -p -- "$root/db/bin"
    sh "$here/install.sh" install "$root" postgres "$1"
    ln -sfn -- /usr/sbin/pcp_* "$root/kingbasecluster/bin/"
    install -d -o postgres -g postgres /var/log/failover-tools /var/lib/postgresql/failover-tools
    install -d -- "$root/db/etc"
    ln -sfn -- ../db/etc "$root/kingbasecluster/etc"
    if [ ! -e "$conf" ]; then
        sed -e "s#^DB_SERVICE=.*#DB_SERVICE=postgresql@$version-main#" \
            -e "s#^KB_DATA_PATH=.*#KB_DATA_PATH=/var/lib/postgresql/$version/main#" \
            "$here/HAmodule.debian.conf" | write "$conf" 0640 root:postgres
    fi
    find_cluster
    ln -sfn -- "/usr/lib/postgresql/$version/bin/"* "$root/db/bin/"
    sed -e 's#kingbase kingbase#postgres postgres#' \
        -e 's#/home/kingbase/cluster/R3HA/log/database.log#/var/lib/postgresql/failover-tools/database.log#' \
        -e 's#/home/kingbase/cluster/R3HA/log#/var/log/failover-tools#' \
        "$here/failover-tools.logrotate" | write /etc/logrotate.d/failover-tools 0644 root:root
    allow_unit
    make_key
}

# The cluster of HAmodule.conf, by its data directory.
find_cluster() {
    data=$(get KB_DATA_PATH)
    case $data in
    /var/lib/postgresql/*/*) ;;
    *) fail "KB_DATA_PATH: found $data, expected /var/lib/postgresql/VERSION/NAME, as pg_createcluster makes it" ;;
    esac
    name=${data##*/} version=${data%/*} version=${version##*/}
    etc=/etc/postgresql/$version/$name
    [ -e "$etc/postgresql.conf" ] || fail "no $etc/postgresql.conf: pg_createcluster $version $name"
}

# The database's user may stop and start the server's unit, and nothing else.
allow_unit() {
    if [ -d /etc/polkit-1/rules.d ]; then
        rule=/etc/polkit-1/rules.d/50-failover-tools.rules sample=failover-tools.polkit.rules mode=0644
    elif [ -d /etc/sudoers.d ]; then
        rule=/etc/sudoers.d/failover-tools sample=failover-tools.sudoers mode=0440
    else
        fail "neither polkit nor sudo: apt-get install polkitd (postgres has to stop and start the server's unit)"
    fi
    sed "s#postgresql@15-main#postgresql@$version-$name#" "$here/$sample" | write "$rule" "$mode" root:root
}

# The key by which postgres gets from host to host.
make_key() {
    ssh=$(getent passwd postgres | cut -d: -f6)/.ssh
    install -d -m 0700 -o postgres -g postgres -- "$ssh"
    [ -e "$ssh/id_ed25519" ] ||
        as_postgres ssh-keygen -q -t ed25519 -N '' -C "postgres@$(hostname)" -f "$ssh/id_ed25519"
    [ -e "$ssh/authorized_keys" ] || write "$ssh/authorized_keys" 0600 postgres:postgres </dev/null
    say "installed. Put this line into $ssh/authorized_keys on each other host:"
    cat -- "$ssh/id_ed25519.pub"
}

# Everything that can be asked is asked before anything is written.
read_config() {
    [ -e "$conf" ] || fail "no $conf: debian.sh install"
    "$root/db/bin/failover_stream" --check-config >/dev/null || {
        "$root/db/bin/failover_stream" --check-config >&2 || :
        fail "correct $conf first"
    }
    # One a line: of several only the last one's failure would be seen.
    me=$(get KB_LOCALHOST_IP)
    node=$(get NODE_NAME)
    all=$(list KB_ALL_IP)
    nodes=$(list ALL_NODE_NAME)
    trusted=$(list KB_GATEWAY_IP | xargs | tr ' ' ',')
    vip=$(get KB_VIP)
    dev=$(get DEV)
    pool_vip=$(get KB_POOL_VIP)
    pool_port=$(get KB_POOL_PORT)
    pcp_port=$(get KB_POOL_PCP_PORT)
    pcp_user=$(get PCP_USER)
    user=$(get KB_USER)
    port=$(get KB_PORT)
    sql_password=$(password KB_PASS)
    pcp_password=$(password PCP_PASS)
    # A user of its own for the checks, the same on all hosts; it can be reckoned from KB_PASS only.
    check_password=$(printf 'pool_check %s' "$sql_password" | sha256sum | cut -c 1-40)
    case $user$pcp_user in
    *[!A-Za-z0-9_]*) fail "KB_USER, PCP_USER: found $user and $pcp_user, expected letters, digits and _" ;;
    esac
    find_cluster
    set_port=$(pg_conftool -s "$version" "$name" show port)
    [ "$set_port" = "$port" ] || fail "KB_PORT: found $port, but $etc/postgresql.conf has port = $set_port"
    pool=/etc/pgpool2
    passwords=$(getent passwd postgres | cut -d: -f6)/.pgpass
    for file in "$etc/pg_hba.conf" "$pool/pgpool.conf" "$pool/pcp.conf" "$pool/pool_hba.conf" "$passwords"; do
        [ ! -e "$file" ] || check_marks "$file"
    done
}

# t or f: is the server of that host in recovery? Nothing: it lets us not in.
in_recovery() { # HOST
    export PGPASSWORD="$sql_password"
    as_postgres psql -X -A -t -w -d "host=$1 port=$port user=$user dbname=postgres connect_timeout=5" \
        -c 'select pg_is_in_recovery()'
    unset PGPASSWORD
}

configure_server() {
    other=$1
    write "$etc/conf.d/failover-tools.conf" 0644 postgres:postgres <<END
# Made from HAmodule.conf by debian.sh.
listen_addresses = '*'
# Without it, or checksums, no rewind.
wal_log_hints = on
# Only a standby reads these; a failover or a recovery changes the host, in postgresql.auto.conf.
primary_conninfo = 'host=$other port=$port user=$user application_name=$node connect_timeout=10'
primary_slot_name = 'slot_$node'
END
    for host in $all; do
        echo "host all all $host/32 scram-sha-256"
        echo "host replication $user $host/32 scram-sha-256"
    done | put "$etc/pg_hba.conf"
    # At boot network_rewind starts it, after it has looked who is the primary.
    sed -i 's/^auto$/manual/' "$etc/start.conf"
    [ -e "$passwords" ] || write "$passwords" 0600 postgres:postgres </dev/null
    # The first line that fits counts, and this one fits no other server.
    for host in $all; do
        echo "$host:$port:*:$user:$sql_password"
    done | put "$passwords"
}

# The sample, but for what HAmodule.conf knows better.
pool_settings() {
    grep -v -e '^#' -e '^$' "$here/pgpool.conf.sample" |
        grep -v -E '^(health_check_|sr_check_)(user|password|database) |^(delegate_IP|trusted_servers|arping_cmd|if_(up|down)_cmd|enable_consensus_with_half_votes) |^(hostname|wd_port|pgpool_port|heartbeat_hostname|heartbeat_port)[0-9]'
    set -- $all
    case $# in
    # Of two pools one has to be enough.
    2) half=on ;;
    *) half=off ;;
    esac
    case $(pgpool --version 2>&1) in
    *" 4."[0-3].* | *" 3."*) delegate=delegate_IP ;;
    *) delegate=delegate_ip ;;
    esac
    vip_ctl=$root/kingbasecluster/bin/vip_ctl
    prefix=${vip#*/}
    cat <<END
port = $pool_port
pcp_port = $pcp_port
enable_pool_hba = on
health_check_user = 'pool_check'
health_check_password = '$check_password'
health_check_database = 'postgres'
sr_check_user = 'pool_check'
sr_check_password = '$check_password'
sr_check_database = 'postgres'
enable_consensus_with_half_votes = $half
trusted_servers = '$trusted'
$delegate = '$pool_vip'
if_up_cmd = '$vip_ctl add --force --vip \$_IP_\$/$prefix'
if_down_cmd = '$vip_ctl del --vip \$_IP_\$/$prefix'
arping_cmd = '/usr/bin/arping -U \$_IP_\$ -w 1 -I $dev'
END
    id=0
    for host in $all; do
        cat <<END
backend_hostname$id = '$host'
backend_port$id = $port
backend_weight$id = 1
backend_data_directory$id = '$data'
backend_flag$id = 'ALLOW_TO_FAILOVER'
hostname$id = '$host'
wd_port$id = 9000
pgpool_port$id = $pool_port
heartbeat_hostname$id = '$host'
heartbeat_port$id = 9694
END
        id=$((id + 1))
    done
}

configure_pool() {
    pool_settings | put "$pool/pgpool.conf"
    id=0
    for host in $all; do
        [ "$host" != "$me" ] || echo "$id"
        id=$((id + 1))
    done | write "$pool/pgpool_node_id" 0644 root:root
    # The package lets everybody read it.
    chown root:postgres "$pool/pcp.conf"
    chmod 0640 "$pool/pcp.conf"
    echo "$pcp_user:$(printf %s "$pcp_password" | md5sum | cut -c 1-32)" | put "$pool/pcp.conf"
    # No marks in this one, which the pool writes, too.
    { grep -v "^$user:" "$pool/pool_passwd" || :; echo "$user:TEXT$sql_password"; } |
        write "$pool/pool_passwd" 0640 root:postgres
    for host in $all "$pool_vip"; do
        echo "host all all $host/32 scram-sha-256"
    done | put "$pool/pool_hba.conf"
}

# The server's settings stay: with them a standby is one.
uninstall_all() { # BUILT
    rm -f -- /etc/cron.d/failover-tools /etc/logrotate.d/failover-tools \
        /etc/polkit-1/rules.d/50-failover-tools.rules /etc/sudoers.d/failover-tools /etc/pgpool2/pgpool_node_id
    for file in pgpool.conf pcp.conf pool_hba.conf; do
        take "/etc/pgpool2/$file"
    done
    # Nobody else starts it at boot.
    for file in /etc/postgresql/*/*/conf.d/failover-tools.conf; do
        [ ! -e "$file" ] || sed -i 's/^manual$/auto/' "${file%/conf.d/*}/start.conf"
    done
    sh "$here/install.sh" uninstall "$root" postgres "$1"
    find "$root/db/bin" "$root/kingbasecluster/bin" -lname '/usr/*' -delete
    say "uninstalled. $root/db/etc, logs, state and the server's settings for replication are yours to remove"
}

psql_here() {
    as_postgres psql -X -A -t -q -v ON_ERROR_STOP=1 -p "$port" -d postgres
}

make_primary() {
    read_config
    [ ! -e "$data/standby.signal" ] || fail "$data is a standby's: debian.sh standby"
    for host in $all; do
        [ "$host" != "$me" ] || continue
        other=$host
        [ "$(in_recovery "$host" 2>/dev/null || :)" != f ] || fail "$host is a primary already: debian.sh standby here"
    done
    configure_server "$other"
    configure_pool
    pg_ctlcluster "$version" "$name" restart
    psql_here <<END
set synchronous_commit = local;
set log_statement = 'none';
set log_min_duration_statement = -1;
do \$\$ begin
    if not exists (select from pg_roles where rolname = '$user') then create role "$user" superuser; end if;
    if not exists (select from pg_roles where rolname = 'pool_check') then create role pool_check; end if;
end \$\$;
alter role "$user" login password '$sql_password';
alter role pool_check login password '$check_password';
END
    for other in $nodes; do
        [ "$other" = "$node" ] || echo "select from pg_create_physical_replication_slot('slot_$other', true)
            where not exists (select from pg_replication_slots where slot_name = 'slot_$other');"
    done | psql_here
    "$root/db/bin/vip_ctl" add >/dev/null
    say "this host has the primary, and $vip"
}

make_standby() { # [PRIMARY]
    read_config
    set -- "$@" $all
    for primary; do [ "$primary" = "$me" ] || break; done
    if [ ! -e "$data/standby.signal" ]; then
        answer=$(in_recovery "$primary") || fail "$primary: no login (debian.sh primary there first)"
        [ "$answer" = f ] || fail "$primary is no primary: debian.sh standby ADDRESS-OF-THE-PRIMARY"
    fi
    configure_server "$primary"
    configure_pool
    [ -e "$data/standby.signal" ] || copy_primary
    forget_other_settings
    pg_ctlcluster "$version" "$name" restart
    say "this host has a standby of $primary"
}

# What pg_basebackup -R has written is read after ours, and has not this node's name.
forget_other_settings() {
    auto=$data/postgresql.auto.conf
    grep -q '^primary_conninfo ' "$auto" && ! grep -q "^primary_conninfo .*application_name=$node\>" "$auto" || return 0
    pg_ctlcluster "$version" "$name" stop || [ $? -eq 2 ] # it does not run
    cp -p -- "$auto" "$auto.failover-tools.new"
    sed -e '/^primary_conninfo /d' -e '/^primary_slot_name /d' "$auto" >"$auto.failover-tools.new"
    mv -f -- "$auto.failover-tools.new" "$auto"
    say "primary_conninfo and primary_slot_name of $auto have gone into conf.d/failover-tools.conf"
}

# The pool with its settings, and whoever looks after this host each minute.
start_all() {
    read_config
    sed "s#kingbase /home/kingbase/cluster/R3HA/db/bin/#postgres $root/db/bin/#" "$here/failover-tools.cron" |
        write /etc/cron.d/failover-tools 0644 root:root
    service pgpool2 restart
    say "the pool runs with its settings, and cron starts $root/db/bin/network_rewind each minute"
}

# Beside its place, and put there when it is whole. What was there is kept: it may be somebody's.
copy_primary() {
    kept=$data.before-failover-tools copy=$data.failover-tools.new
    # Without the data directory: an earlier run was killed between the two renames.
    if [ -e "$data" ] || [ ! -e "$copy/standby.signal" ]; then
        [ ! -e "$data" ] || [ ! -e "$kept" ] || fail "$kept is there already: move it away"
        rm -rf -- "$copy"
        as_postgres pg_basebackup -w -h "$primary" -p "$port" -U "$user" -S "slot_$node" -X stream \
            --checkpoint=fast -D "$copy"
        as_postgres touch "$copy/standby.signal"
    fi
    if [ -e "$data" ]; then
        pg_ctlcluster "$version" "$name" stop || [ $? -eq 2 ] # it does not run
        mv -T -- "$data" "$kept"
        say "what was in $data is in $kept now"
    fi
    mv -T -- "$copy" "$data"
}

[ "$(id -u)" = 0 ] || fail "run it as root"
action=${1-}
[ $# -eq 0 ] || shift
case $action in
install) install_all "${1-$here/../target/release}" ;;
uninstall) uninstall_all "${1-$here/../target/release}" ;;
primary) make_primary ;;
standby) make_standby "$@" ;;
start) start_all ;;
*) fail "usage: debian.sh install|uninstall [BUILT_TOOLS_DIRECTORY] | primary | standby [PRIMARY_ADDRESS] | start" ;;
esac
