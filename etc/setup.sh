#!/bin/sh
# Gives the tools of this package to a cluster of this host, and takes them back: failover-tools-setup.
#
#     failover-tools-setup --cluster DIRECTORY [--user USER] [--timer]   KingbaseES V8R3: over its scripts
#     failover-tools-setup --postgres [--user USER] [--timer]            PostgreSQL with pgpool-II: /opt/failover-tools
#     failover-tools-setup --remove DIRECTORY                            what stood there is put back
#     failover-tools-setup --list                                        the clusters that have them
#
# --user: the database's system user (kingbase; postgres). --timer: a systemd timer in place of cron's line.
#
# The package itself calls --refresh after an upgrade and --put-back before a removal. HAmodule.conf is never changed:
# --postgres writes a sample where there is none. Nothing is started or stopped, but the timer where it is asked for.
set -eu
umask 022

here=$(dirname -- "$(readlink -f -- "$0")")
# Beside us in a package, in a tarball, in a checkout.
for programs in "$here/../../lib/failover-tools/bin" "$here/../bin" "$here/../target/release"; do
    [ ! -x "$programs/failover_stream" ] || break
done
state=${FAILOVER_TOOLS_STATE:-/var/lib/failover-tools}
list=$state/clusters
units=/etc/systemd/system
# Where the commands of PATH look for HAmodule.conf.
etc=$here/../../lib/failover-tools/etc

say() {
    echo "failover-tools-setup: $*"
}

warn() {
    echo "failover-tools-setup: $*" >&2
}

fail() {
    warn "$*"
    exit 1
}

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$here/setup.sh"
}

# The user of a cluster that has the tools.
user_of() { # DIRECTORY
    [ ! -e "$list" ] || while read -r owner place; do
        [ "$place" != "$1" ] || echo "$owner"
    done <"$list"
}

# All the lines but that of one cluster.
others() { # DIRECTORY
    [ ! -e "$list" ] || while read -r owner place; do
        [ "$place" = "$1" ] || echo "$owner $place"
    done <"$list"
}

record() { # USER DIRECTORY
    mkdir -p -- "$state"
    { others "$2" && echo "$1 $2"; } >"$list.new"
    mv -f -- "$list.new" "$list"
}

forget() { # DIRECTORY
    others "$1" >"$list.new"
    mv -f -- "$list.new" "$list"
}

give() { # DIRECTORY USER
    sh "$here/install.sh" install "$1" "$2" "$programs"
}

take_over() { # DIRECTORY USER
    case $1 in
    /?*) ;;
    *) fail "found \"$1\", expected the absolute path of the cluster's directory" ;;
    esac
    [ -d "$1/db/bin" ] || fail "no directory $1/db/bin: is $1 the cluster's directory?"
    # Before the first program is replaced: a removal that comes between finds it.
    record "$2" "$1"
    give "$1" "$2"
    commands_of "$1"
    say "$1 has the tools. Look at it with: $1/db/bin/failover_stream --check-config"
}

# The commands of PATH serve the first cluster.
commands_of() { # DIRECTORY
    [ -d "$here/../../lib/failover-tools" ] || return 0
    [ -e "$etc" ] || ln -sfn -- "$1/db/etc" "$etc"
}

# What docs/install.md says of a layout of one's own.
postgres() { # USER
    target=/opt/failover-tools
    if [ -d /etc/postgresql ] && [ -d /etc/pgpool2 ]; then
        sh "$here/debian.sh" install "$programs"
        record "$1" "$target"
        commands_of "$target"
        return 0
    fi
    home=$(getent passwd "$1" | cut -d: -f6)
    [ -n "$home" ] || fail "no system user $1: --user"
    server=
    for bin in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null | sort -V); do
        [ ! -x "$bin/pg_ctl" ] || server=$bin
    done
    [ -n "$server" ] || fail "no pg_ctl in /usr/lib/postgresql/*/bin and /usr/pgsql-*/bin: install the server first"
    record "$1" "$target"
    mkdir -p -- "$target/db/bin"
    give "$target" "$1"
    ln -sfn -- "$server"/* "$target/db/bin/"
    for program in /usr/sbin/pcp_* /usr/bin/pcp_*; do
        [ ! -x "$program" ] || ln -sfn -- "$program" "$target/kingbasecluster/bin/"
    done
    install -d -o "$1" -g "$(id -g -- "$1")" /var/log/failover-tools "$home/failover-tools"
    install -d -- "$target/db/etc"
    [ -e "$target/kingbasecluster/etc" ] || ln -s ../db/etc "$target/kingbasecluster/etc"
    if [ ! -e "$target/db/etc/HAmodule.conf" ]; then
        install -m 0640 -g "$(id -g -- "$1")" "$here/HAmodule.postgres.conf" "$target/db/etc/HAmodule.conf"
    fi
    commands_of "$target"
    say "$target has the tools. Correct $target/db/etc/HAmodule.conf, then: failover_stream --check-config"
}

timer() { # DIRECTORY USER
    [ -d "$units" ] || fail "no $units: this host has no systemd, keep cron's line"
    if [ -e "$units/failover-tools.service" ] && ! grep -qF "ExecStart=$1/db/bin/" "$units/failover-tools.service"; then
        fail "$units/failover-tools.service is another cluster's: one timer on a host"
    fi
    case $1 in
    *[!A-Za-z0-9/._-]*) fail "$1: systemd's files would read some of these characters otherwise, keep cron's line" ;;
    esac
    sed -e "s#^User=.*#User=$2#" -e "s#^ExecStart=.*#ExecStart=$1/db/bin/network_rewind#" \
        "$here/failover-tools.service" >"$units/failover-tools.service.new"
    mv -f -- "$units/failover-tools.service.new" "$units/failover-tools.service"
    cp -- "$here/failover-tools.timer" "$units/failover-tools.timer"
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        systemctl enable --quiet --now failover-tools.timer
    else
        mkdir -p -- "$units/timers.target.wants"
        ln -sfn -- "$units/failover-tools.timer" "$units/timers.target.wants/failover-tools.timer"
    fi
    say "failover-tools.timer runs $1/db/bin/network_rewind each minute: take cron's line out"
}

# That of this cluster only.
take_timer() { # DIRECTORY
    grep -qsF "ExecStart=$1/db/bin/" "$units/failover-tools.service" || return 0
    [ ! -d /run/systemd/system ] || systemctl disable --quiet --now failover-tools.timer || :
    rm -f -- "$units/timers.target.wants/failover-tools.timer" "$units/failover-tools.timer" \
        "$units/failover-tools.service"
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
    say "failover-tools.timer is removed: put network_rewind.sh back into cron"
}

remove() { # DIRECTORY
    owner=$(user_of "$1")
    [ -n "$owner" ] || fail "$1 has no tools of this package (--list)"
    take_timer "$1"
    sh "$here/install.sh" uninstall "$1" "$owner" "$programs"
    forget "$1"
    [ "$(readlink -- "$etc" 2>/dev/null)" != "$1/db/etc" ] || rm -f -- "$etc"
}

# Whether something of the cluster's own stood under our names.
has_kept() { # DIRECTORY
    for name in failover_stream.sh network_rewind.sh change_vip.sh; do
        [ ! -e "$1/db/bin/$name.orig" ] || return 0
        [ ! -e "$1/kingbasecluster/bin/$name.orig" ] || return 0
    done
    return 1
}

# After an upgrade. A cluster that could not get the new programs keeps those that it has.
refresh() {
    [ -s "$list" ] || return 0
    failed=0
    while read -r user directory; do
        if [ ! -d "$directory/db/bin" ]; then
            warn "no directory $directory/db/bin any more: left out (--remove takes it off the list)"
        elif give "$directory" "$user" </dev/null >/dev/null; then
            say "$directory has this version now"
        else
            warn "$directory keeps the version before"
            failed=1
        fi
    done <"$list"
    return $failed
}

# Before a removal. Where scripts stood they come back; else a running cluster would be left without a failover, so
# it keeps the tools that it has: they need nothing of the package.
put_back() {
    [ -s "$list" ] || return 0
    cp -- "$list" "$list.old"
    while read -r _ directory; do
        if has_kept "$directory"; then
            remove "$directory"
            say "$directory has its scripts back"
        elif [ -e "$directory/db/bin/.failover-tools.installed" ]; then
            warn "$directory had no scripts before, and keeps its tools: its failover goes on working"
        else
            forget "$directory"
        fi
    done <"$list.old"
    rm -f -- "$list.old"
}

action=
user=
directory=
with_timer=
while [ $# -gt 0 ]; do
    case $1 in
    --cluster | --remove)
        [ -z "$action" ] && [ $# -ge 2 ] || fail "$1 needs the cluster's directory, and stands alone"
        action=$1 directory=${2%/}
        shift
        ;;
    --postgres | --refresh | --put-back | --list)
        [ -z "$action" ] || fail "$action and $1: one of them"
        action=$1
        ;;
    --user)
        [ $# -ge 2 ] || fail "--user needs a name"
        user=$2
        shift
        ;;
    --timer) with_timer=1 ;;
    --help)
        usage
        exit 0
        ;;
    *) fail "what is \"$1\"? See --help" ;;
    esac
    shift
done
case $action in
--list) [ ! -e "$list" ] || cat -- "$list" ;;
'') fail "--cluster DIRECTORY, or --postgres; see --help" ;;
*)
    [ "$(id -u)" = 0 ] || fail "only root can do this"
    case $action in
    --cluster) take_over "$directory" "${user:-kingbase}" ;;
    --postgres)
        directory=/opt/failover-tools
        postgres "${user:-postgres}"
        ;;
    --remove) remove "$directory" ;;
    --refresh) refresh ;;
    --put-back) put_back ;;
    esac
    if [ -n "$with_timer" ]; then
        timer "$directory" "$(user_of "$directory")"
    fi
    ;;
esac
