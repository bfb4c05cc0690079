#!/bin/sh
# Installs the tools over the scripts of a cluster, or takes them off again.
#
#     install.sh install|uninstall CLUSTER_DIRECTORY DATABASE_USER BUILT_TOOLS_DIRECTORY
#
# In db/bin and kingbasecluster/bin below the cluster's directory: the tools, and links to them under
# the names of the scripts that they replace, so that cron and the pool need no change. What stood there
# is renamed to *.orig, which keeps owner, mode, links and capabilities; uninstall renames it back. The
# list of what was installed lies beside it: a second install replaces the tools and keeps *.orig.
set -eu

tools="failover_stream network_rewind vip_ctl attach_node rw_check cluster_ctl"
scripts="failover_stream.sh:failover_stream network_rewind.sh:network_rewind change_vip.sh:vip_ctl"
list=.failover-tools.installed

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# One line for each thing that was done.
say() {
    echo "install.sh: $*"
}

[ $# -eq 4 ] || fail "usage: install.sh install|uninstall CLUSTER_DIRECTORY DATABASE_USER BUILT_TOOLS_DIRECTORY"
action=$1 cluster=$2 user=$3 built=$4
case $cluster in
/?*) ;;
*) fail "found \"$cluster\", expected the absolute path of the cluster's directory (make: CLUSTER=)" ;;
esac
# Their group need not have their name; where a package is made only the group may be known.
group=$(id -g -- "$user" 2>/dev/null) || group=$user

exists() { # FILE
    [ -e "$1" ] || [ -L "$1" ]
}

# Under its second name already, by an install that was killed.
is_kept() { # DIRECTORY NAME
    [ "$1/$2" -ef "$1/$2.orig" ]
}

# Is what stands there of an install before this one? A script that is no link to a tool any more is the
# vendor's, of an upgrade.
is_ours() { # DIRECTORY NAME
    grep -qxF -- "$2" "$1/$list" 2>/dev/null || return 1
    case $2 in
    *.sh) [ -L "$1/$2" ] && case $scripts in *"$2:$(readlink -- "$1/$2")"*) ;; *) false ;; esac ;;
    esac
}

# A wrong letter would make a tree of its own, and leave the cluster as it is.
check_cluster() {
    [ -d "$cluster/db/bin" ] ||
        fail "no directory $cluster/db/bin, so $cluster is no cluster: name the directory above db/bin, or make that for a new one; nothing was touched"
    case $user in
    *[!0-9]*)
        id -u -- "$user" >/dev/null 2>&1 || getent group -- "$user" >/dev/null ||
            fail "no system user or group $user: name the database's system user; nothing was touched"
        ;;
    # A number needs no name, where another host's directory is filled, for instance.
    esac
}

# Everything that can be asked is asked before anything is replaced.
check() { # DIRECTORY
    for name in $tools $(for pair in $scripts; do echo "${pair%%:*}"; done); do
        if exists "$1/$name" && ! is_ours "$1" "$name" && exists "$1/$name.orig" &&
            ! grep -qxF -- "$name" "$1/$list" 2>/dev/null && ! is_kept "$1" "$name"; then
            fail "$1/$name is not ours, and $1/$name.orig is there already: move one of them away"
        fi
    done
}

# Beside their places: those that are there may be running.
prepare() { # DIRECTORY
    mkdir -p -- "$1"
    for tool in $tools; do
        cp -- "$built/$tool" "$1/.$tool.new"
        chmod 0755 "$1/.$tool.new"
    done
    # It carries rights: root's, and for the database's group only.
    chown "root:$group" "$1/.vip_ctl.new" || fail "no system user or group $user: nothing was replaced"
    chmod 0750 "$1/.vip_ctl.new"
    setcap cap_net_admin,cap_net_raw+ep "$1/.vip_ctl.new" || fail "no capabilities in $1: nothing was replaced"
    for pair in $scripts; do
        ln -sfn -- "${pair##*:}" "$1/.${pair%%:*}.new"
    done
}

# One rename: at no moment is there none, wherever this is killed. What somebody else put there is kept
# under a second name first; of two the newer one.
put() { # DIRECTORY NAME
    did="installed"
    if exists "$1/$2" && ! is_ours "$1" "$2"; then
        is_kept "$1" "$2" || ln -Pf -- "$1/$2" "$1/$2.orig"
        did="installed; what stood there is $2.orig"
    elif exists "$1/$2"; then
        did="renewed"
    fi
    case $2 in
    *.sh) did="$did (a link to $(readlink -- "$1/.$2.new"))" ;;
    vip_ctl) did="$did, root's and for group $group, with cap_net_admin and cap_net_raw" ;;
    esac
    note "$1" "$2"
    mv -fT -- "$1/.$2.new" "$1/$2"
    say "$1/$2: $did"
}

# In the list before it is there: what is listed and missing does no harm.
note() { # DIRECTORY NAME
    grep -qxF -- "$2" "$1/$list" 2>/dev/null || echo "$2" >>"$1/$list"
}

uninstall_from() { # DIRECTORY
    if [ ! -e "$1/$list" ]; then
        say "$1: nothing of ours is there"
        return 0
    fi
    while read -r name; do
        rm -f -- "$1/.$name.new"
        if exists "$1/$name" && ! is_ours "$1" "$name"; then
            # The vendor's, newer than what was kept.
            rm -f -- "$1/$name.orig"
            say "$1/$name: left, it is not ours"
        elif exists "$1/$name.orig"; then
            mv -fT -- "$1/$name.orig" "$1/$name"
            say "$1/$name: what stood there before is back"
        else
            rm -f -- "$1/$name"
            say "$1/$name: removed"
        fi
    done <"$1/$list"
    rm -f -- "$1/$list"
}

case $action in
install)
    for tool in $tools; do
        [ -f "$built/$tool" ] || fail "no $built/$tool: run make build first"
    done
    command -v setcap >/dev/null || fail "no program setcap: install libcap2-bin"
    check_cluster
    for step in check prepare; do
        for directory in db/bin kingbasecluster/bin; do
            $step "$cluster/$directory"
        done
    done
    for directory in db/bin kingbasecluster/bin; do
        for name in $tools $(for pair in $scripts; do echo "${pair%%:*}"; done); do
            put "$cluster/$directory" "$name"
        done
    done
    ;;
uninstall)
    for directory in db/bin kingbasecluster/bin; do
        uninstall_from "$cluster/$directory"
    done
    ;;
*) fail "what is \"$action\"? install or uninstall" ;;
esac
