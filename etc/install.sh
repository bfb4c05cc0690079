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

tools="failover_stream network_rewind vip_ctl attach_node rw_check"
scripts="failover_stream.sh:failover_stream network_rewind.sh:network_rewind change_vip.sh:vip_ctl"
list=.failover-tools.installed

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

[ $# -eq 4 ] || fail "usage: install.sh install|uninstall CLUSTER_DIRECTORY DATABASE_USER BUILT_TOOLS_DIRECTORY"
action=$1 cluster=$2 user=$3 built=$4
# Their group need not have their name; where a package is made they are not known.
group=$(id -g -- "$user" 2>/dev/null) || group=$user

# Makes room for a file of ours: what somebody else put there is kept.
keep() { # DIRECTORY NAME
    { [ -e "$1/$2" ] || [ -L "$1/$2" ]; } || return 0
    if grep -qxF -- "$2" "$1/$list"; then
        rm -f -- "$1/$2"
        return
    fi
    if [ -e "$1/$2.orig" ] || [ -L "$1/$2.orig" ]; then
        fail "$1/$2 is not ours, and $1/$2.orig is there already: move one of them away"
    fi
    mv -- "$1/$2" "$1/$2.orig"
}

install_into() { # DIRECTORY
    mkdir -p -- "$1"
    [ -e "$1/$list" ] || : >"$1/$list"
    for tool in $tools; do
        # Beside its place first: the one that is there may be running.
        cp -- "$built/$tool" "$1/.$tool.new"
        chmod 0755 "$1/.$tool.new"
        if [ "$tool" = vip_ctl ]; then
            # It carries rights: root's, and for the database's group only.
            chown "root:$group" "$1/.$tool.new"
            chmod 0750 "$1/.$tool.new"
            setcap cap_net_admin,cap_net_raw+ep "$1/.$tool.new"
        fi
        keep "$1" "$tool"
        note "$1" "$tool"
        mv -f -- "$1/.$tool.new" "$1/$tool"
    done
    for pair in $scripts; do
        script=${pair%%:*}
        keep "$1" "$script"
        note "$1" "$script"
        ln -s -- "${pair##*:}" "$1/$script"
    done
}

# In the list before it is there: what is listed and missing does no harm.
note() { # DIRECTORY NAME
    grep -qxF -- "$2" "$1/$list" || echo "$2" >>"$1/$list"
}

uninstall_from() { # DIRECTORY
    [ -e "$1/$list" ] || return 0
    while read -r name; do
        rm -f -- "$1/$name" "$1/.$name.new"
        if [ -e "$1/$name.orig" ] || [ -L "$1/$name.orig" ]; then
            mv -- "$1/$name.orig" "$1/$name"
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
    for directory in db/bin kingbasecluster/bin; do
        install_into "$cluster/$directory"
    done
    ;;
uninstall)
    for directory in db/bin kingbasecluster/bin; do
        uninstall_from "$cluster/$directory"
    done
    ;;
*) fail "what is \"$action\"? install or uninstall" ;;
esac
