#!/bin/bash
# plugins-test.sh [PLUGIN_DIR]: the plugins dummy, vlan and ipvlan, whose kinds of link not every
# kernel has. Needs root and a kernel that has them, and works in namespaces of its own, which end
# with it.
set -uo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
plugins=$(realpath "${1:-$repository/.build/cni}")
if [ -z "${PLUGINS_TEST_INSIDE:-}" ]; then
    export PLUGINS_TEST_INSIDE=1
    exec unshare --net --mount --propagation private bash "${BASH_SOURCE[0]}" "$plugins"
fi
. "$repository/integration/guest/claims.sh"

for program in ip jq ping; do
    command -v $program > /dev/null || { echo "plugins-test: no program $program" >&2; exit 1; }
done
mkdir -p /run/netns
mount -t tmpfs none /run/netns || exit 1
ip link set lo up
for module in dummy 8021q ipvlan macvlan; do modprobe $module 2> /dev/null; done

# --- the plugins ---

# cni VERB CONTAINER [NETNS]: calls the container's plugin, with the earlier result if there is one.
cni() {
    local configuration=$work/$2.conf
    if [ "$1" != ADD ] && [ -s "$work/$2.result" ]; then
        configuration=$work/$2.called
        jq --slurpfile result "$work/$2.result" '.prevResult = $result[0]' \
            "$work/$2.conf" > "$configuration"
    fi
    CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=${3-/run/netns/$2} CNI_IFNAME=eth0 \
        CNI_PATH=$plugins "$plugins/$(jq -r .type "$work/$2.conf")" \
        < "$configuration" > "$work/said" 2>&1
}

# namespace CONTAINER: one in which IPv6 takes an address for its own without asking: that takes a
# second or two for every ADD.
namespace() {
    ip netns add "$1"
    inside "$1" sysctl -qw net.ipv6.conf.default.dad_transmits=0
}

# attach CONTAINER PLUGIN NETWORK KEYS: ADD, with addresses of both families.
attach() {
    local container=$1
    [ -e "/run/netns/$container" ] || namespace "$container"
    jq -n --arg plugin "$2" --arg name "$3" --arg data "$work/addresses" --argjson keys "{$4}" \
        '{cniVersion: "1.1.0", name: $name, type: $plugin,
          ipam: {type: "host-local", dataDir: $data,
                 ranges: [[{subnet: "10.9.0.0/24"}], [{subnet: "fd00:9::/64"}]],
                 routes: [{dst: "0.0.0.0/0"}, {dst: "::/0"}]}} + $keys' > "$work/$container.conf"
    cni ADD "$container" && cp "$work/said" "$work/$container.result"
}

# address CONTAINER FAMILY: 0 for IPv4, 1 for IPv6.
address() { jq -r ".ips[$2].address // empty | split(\"/\")[0]" "$work/$1.result" 2> /dev/null; }
# link CONTAINER FILTER: of the container's interface, what a jq filter says.
link() { inside "$1" ip -d -j link show eth0 2> /dev/null | jq -r ".[0] | $2"; }
# leases: every address that is reserved, in one line.
leases() { find "$work/addresses" -type f \( -name '10.*' -o -name 'fd*' \) -printf '%f ' 2> /dev/null; }
# hostLinks: the names of the host's links.
hostLinks() { ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/' | sort | xargs; }

# detaches CONTAINER: DEL, and DEL again.
detaches() {
    cni DEL "$1" && cni DEL "$1" || return 1
    {
        ! inside "$1" ip link show eth0 2> /dev/null || echo "left: eth0"
        [ ! -e "$work/addresses/$(jq -r .name "$work/$1.conf")/$(address "$1" 0)" ] \
            || echo "left: $(address "$1" 0)"
    } > "$work/said"
    [ ! -s "$work/said" ]
}

# refused CONTAINER PLUGIN NETWORK KEYS TEXT: ADD fails with a text.
refused() { ! attach "${@:1:4}" && grep -qF "$5" "$work/said"; }

# claims KIND: what every kind of link owes. `$keys` are the plugin's keys.
claims() {
    local kind=$1 before
    before=$(hostLinks)
    local unreachable='"ipam": {"type": "host-local", "dataDir": "'$work/addresses'",
        "ranges": [[{"subnet": "10.9.0.0/24"}]],
        "routes": [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]}'
    holds "$kind: an ADD whose route nobody can reach fails" \
        refused "$kind-f" "$kind" "$kind" "$keys, $unreachable" "192.0.2.0/24"
    is "$kind: a failed ADD leaves no interface" lo \
        "$(inside "$kind-f" ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/' | xargs)"
    is "$kind: a failed ADD leaves no lease" "" "$(leases)"

    holds "$kind: ADD" attach "$kind-a" "$kind" "$kind" "$keys"
    is "$kind: the interface is of the kind, and says whose it is" "$kind $kind $kind-a eth0" \
        "$(link "$kind-a" '.linkinfo.info_kind + " " + .ifalias')"
    is "$kind: the result lists the interface as it is" \
        "eth0 $(link "$kind-a" .address) /run/netns/$kind-a" \
        "$(jq -r '.interfaces | map("\(.name) \(.mac) \(.sandbox)") | join(", ")' \
            "$work/$kind-a.result" 2> /dev/null)"
    is "$kind: the result's addresses are the interface's" "0 0" \
        "$(jq -r '.ips | map(.interface) | join(" ")' "$work/$kind-a.result" 2> /dev/null)"
    holds "$kind: CHECK passes" cni CHECK "$kind-a"
    is "$kind: the host has no link more" "$before" "$(hostLinks)"
    inside "$kind-a" ip addr del "$(address "$kind-a" 0)/24" dev eth0
    holds "$kind: CHECK names an address that is gone" differs "$kind-a" \
        "address $(address "$kind-a" 0)/24 on eth0: wanted present, found absent"
    inside "$kind-a" ip link set eth0 down
    holds "$kind: CHECK names an interface that is down" differs "$kind-a" "link eth0: wanted up"
    holds "$kind: DEL takes interface and lease away, and does so twice" detaches "$kind-a"

    holds "$kind: ADD over an interface of that name fails" occupied "$kind"
    is "$kind: and leaves that alone" veth "$(link "$kind-o" .linkinfo.info_kind)"
    is "$kind: and leaves no lease" "" "$(leases)"

    holds "$kind: ADD while the host has a link of that name" named "$kind"
    ip netns del "$kind-n"
    ip link del eth0
    holds "$kind: DEL when the namespace has gone" cni DEL "$kind-n"
    holds "$kind: DEL without a namespace" cni DEL "$kind-n" ""
    is "$kind: no lease is left" "" "$(leases)"
}
differs() { ! cni CHECK "$1" && grep -qF "$2" "$work/said"; }
occupied() {
    ip netns add "$1-o"
    inside "$1-o" ip link add eth0 type veth peer name other
    refused "$1-o" "$1" "$1" "$keys" "File exists (17)"
}
named() {
    ip link add eth0 type veth peer name eth1
    attach "$1-n" "$1" "$1" "$keys"
}

# --- a neighbour at the other end of a cable ---

ip netns add neighbour
ip link add up0 type veth peer name up1 netns neighbour
ip link set up0 up
inside neighbour ip link set up1 up

# --- dummy ---

keys='"dns": {}'
claims dummy
namespace holder
inside holder ip link set lo up
holds "dummy: ADD of both families" attach holder dummy dummy "$keys"
for family in 0 1; do
    holds "dummy: its address $(address holder $family) is there" \
        reaches holder "$(address holder $family)"
done
holds "dummy: DEL" detaches holder
holds "dummy: ADD without IPAM fails" \
    refused bare dummy dummy '"ipam": {}' "dummy interface requires an IPAM configuration"
holds "dummy: DEL without IPAM does not" cni DEL bare

# --- vlan ---

keys='"master": "up0", "vlanId": 100'
inside neighbour ip link add link up1 name up1.100 type vlan id 100
inside neighbour ip link set up1.100 up
inside neighbour ip addr add 10.9.0.1/24 dev up1.100
inside neighbour ip addr add fd00:9::1/64 dev up1.100 nodad
claims vlan
holds "vlan: ADD" attach tagged vlan vlan "$keys"
is "vlan: the VLAN is the configuration's" 100 "$(link tagged .linkinfo.info_data.id)"
holds "vlan: the container reaches the neighbour's VLAN by IPv4" reaches tagged 10.9.0.1
holds "vlan: and by IPv6" reaches tagged fd00:9::1
holds "vlan: ADD of another VLAN" attach other vlan other '"master": "up0", "vlanId": 101'
holds "vlan: a container of another VLAN does not reach it" misses other 10.9.0.1
holds "vlan: the same VLAN again is refused" refused again vlan vlan "$keys" "File exists (17)"
holds "vlan: ADD without master is refused" refused none vlan vlan '"vlanId": 5' '"master\" field is required'
holds "vlan: VLAN 4095 is refused" refused none vlan vlan '"master": "up0", "vlanId": 4095' "invalid VLAN ID 4095"
holds "vlan: an MTU above the master's is refused" refused none vlan vlan \
    "$keys, \"mtu\": 1501" "invalid MTU 1501, must be [0, master MTU(1500)]"
for container in tagged other; do holds "vlan: DEL of $container" detaches $container; done
holds "vlan: ADD with an MTU" attach small vlan vlan "$keys, \"mtu\": 1400"
is "vlan: the MTU is the configuration's" 1400 "$(link small .mtu)"
ip link set up0 down && ip link set up0 name away
holds "vlan: DEL without the master" detaches small
ip link set away name up0 && ip link set up0 up
namespace within
inside within ip link add inner type veth peer name outer
inside within ip link set inner up
inside within ip link set outer up
holds "vlan: ADD with a master in the container" attach within vlan vlan \
    '"master": "inner", "vlanId": 7, "linkInContainer": true'
is "vlan: stands on that" inner "$(link within .link)"
holds "vlan: CHECK passes" cni CHECK within
holds "vlan: DEL" detaches within
inside neighbour ip link del up1.100

# --- ipvlan ---

inside neighbour ip addr add 10.9.0.1/24 dev up1
inside neighbour ip addr add fd00:9::1/64 dev up1 nodad
keys='"master": "up0"'
claims ipvlan
for mode in l2 l3 l3s; do
    keys="\"master\": \"up0\", \"mode\": \"$mode\""
    holds "ipvlan $mode: ADD" attach one-$mode ipvlan ipvlan "$keys"
    holds "ipvlan $mode: ADD of a second container" attach two-$mode ipvlan ipvlan "$keys"
    is "ipvlan $mode: the mode is the configuration's" $mode \
        "$(link one-$mode .linkinfo.info_data.mode)"
    is "ipvlan $mode: the hardware address is the master's" \
        "$(ip -j link show up0 | jq -r '.[0].address')" "$(link one-$mode .address)"
    for family in 0 1; do
        holds "ipvlan $mode: one container reaches the other" \
            reaches one-$mode "$(address two-$mode $family)"
    done
    holds "ipvlan $mode: CHECK passes" cni CHECK one-$mode
    if [ $mode = l2 ]; then
        holds "ipvlan l2: the container reaches the neighbour by IPv4" reaches one-l2 10.9.0.1
        holds "ipvlan l2: and by IPv6" reaches one-l2 fd00:9::1
        inside one-l2 ip link set eth0 type ipvlan mode l3
        holds "ipvlan l2: CHECK names another mode" differs one-l2 "mode: wanted l2, found l3"
    fi
    for container in one-$mode two-$mode; do holds "ipvlan: DEL of $container" detaches $container; done
done
holds "ipvlan: ADD without master and default route is refused" \
    refused none ipvlan ipvlan '"mode": "l2"' "no default route interface found"
ip addr add 10.9.0.250/24 dev up0
ip route add default via 10.9.0.1
holds "ipvlan: ADD on the link of the default route" attach default ipvlan ipvlan '"mode": "l2"'
ip route del default
ip addr flush dev up0 scope global
holds "ipvlan: CHECK without the default route" cni CHECK default
holds "ipvlan: DEL without the default route" detaches default

ip netns add asks
holds "ipvlan: ADD where IPv6 asks whether somebody has the address" \
    attach asks ipvlan ipvlan '"master": "up0"'
holds "ipvlan: CHECK at once finds the address usable" cni CHECK asks
holds "ipvlan: DEL" detaches asks
inside neighbour ip addr add fd00:9::99/64 dev up1 nodad
ip netns add late
holds "ipvlan: ADD of an address that the neighbour has fails" refused late ipvlan ipvlan \
    '"master": "up0", "ipam": {"type": "static", "addresses": [{"address": "fd00:9::99/64"}]}' \
    "somebody else has it"
is "ipvlan: and leaves no interface" "" "$(link late .ifname)"

chained='"ipam": {}, "prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "up0"}],
    "ips": [{"address": "10.9.0.77/24", "gateway": "10.9.0.1", "interface": 0}]}'
holds "ipvlan: ADD in a chain stands on the interface before it" \
    attach chained ipvlan ipvlan "$chained"
is "ipvlan: and has its address" 10.9.0.77 "$(address chained 0)"
holds "ipvlan: which the neighbour answers" reaches chained 10.9.0.1
holds "ipvlan: CHECK in a chain passes" cni CHECK chained
holds "ipvlan: DEL in a chain" cni DEL chained
is "ipvlan: leaves nothing" "" "$(link chained .ifname)"
holds "ipvlan: a chain with two interfaces before it is refused" refused none ipvlan ipvlan \
    '"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "a"}, {"name": "b"}]}' \
    "chained master failure"
is "no lease is left" "" "$(leases)"

# --- the Go plugins' containers, and back ---

peer=$repository/.build/peer/usr/lib/cni
ours=$plugins
if [ -x "$peer/ipvlan" ]; then
    for kind in vlan ipvlan; do
        keys='"cniVersion": "1.0.0", "master": "up0"'
        [ $kind = ipvlan ] || keys="$keys, \"vlanId\": 100"
        plugins=$peer
        holds "$kind: ADD by the Go plugin" attach "$kind-peer" $kind $kind "$keys"
        plugins=$ours
        holds "$kind: CHECK of the Go plugin's container" cni CHECK "$kind-peer"
        holds "$kind: DEL of the Go plugin's container" detaches "$kind-peer"
        holds "$kind: ADD for the Go plugin" attach "$kind-ours" $kind $kind "$keys"
        plugins=$peer
        holds "$kind: CHECK by the Go plugin" cni CHECK "$kind-ours"
        holds "$kind: DEL by the Go plugin" detaches "$kind-ours"
        plugins=$ours
    done
fi

# --- conf/ ---

ip link set up0 down && ip link set up0 name eth0 && ip link set eth0 up
for kind in dummy vlan ipvlan; do
    namespace "$kind-conf"
    jq --arg data "$work/addresses" \
        '.plugins[0] + {name, cniVersion} | .ipam.dataDir = $data' \
        "$repository/conf/$kind.conflist" > "$work/$kind-conf.conf"
    holds "$kind.conflist: ADD" cni ADD "$kind-conf"
    cp "$work/said" "$work/$kind-conf.result"
    holds "$kind.conflist: CHECK passes" cni CHECK "$kind-conf"
    holds "$kind.conflist: DEL" detaches "$kind-conf"
done
