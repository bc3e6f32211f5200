#!/bin/bash
# vlan-test.sh [PLUGIN_DIR]: what the keys vlan, vlanTrunk and preserveDefaultVlan of the bridge
# plugin do, as the kernel tells it. Needs root and a kernel with bridge VLAN filtering, and works
# in namespaces of its own, which end with it.
set -uo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
plugins=$(realpath "${1:-$repository/.build/cni}")
if [ -z "${VLAN_TEST_INSIDE:-}" ]; then
    export VLAN_TEST_INSIDE=1
    exec unshare --net --mount --propagation private bash "${BASH_SOURCE[0]}" "$plugins"
fi

. "$repository/integration/guest/claims.sh"

for program in ip bridge jq ping; do
    command -v $program > /dev/null || { echo "vlan-test: no program $program" >&2; exit 1; }
done
for plugin in bridge host-local; do
    [ -x "$plugins/$plugin" ] || { echo "vlan-test: no plugin $plugins/$plugin" >&2; exit 1; }
done
mkdir -p /run/netns
mount -t tmpfs none /run/netns || exit 1
ip link set lo up
if ! ip link add probe type bridge vlan_filtering 1 2> "$work/error"; then
    echo "vlan-test: this kernel's bridges do not filter VLANs: $(cat "$work/error")" >&2
    exit 1
fi
ip link del probe

# --- the plugins ---

# cni VERB CONTAINER: calls the bridge plugin, with the earlier result if there is one.
cni() {
    local configuration=$work/$2.conf
    if [ "$1" != ADD ] && [ -s "$work/$2.result" ]; then
        configuration=$work/$2.called
        jq --slurpfile result "$work/$2.result" '.prevResult = $result[0]' \
            "$work/$2.conf" > "$configuration"
    fi
    CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/$2 CNI_IFNAME=eth0 CNI_PATH=$plugins \
        "$plugins/bridge" < "$configuration" > "$work/said" 2>&1
}

# attach CONTAINER BRIDGE KEYS [SUBNET]: ADD, with an address of the subnet.
attach() {
    local container=$1 bridge=$2 keys=$3 subnet=${4:-10.9.0.0/24}
    ip netns add "$container"
    jq -n --arg bridge "$bridge" --arg subnet "$subnet" --arg data "$work/addresses" \
        --argjson keys "{$keys}" \
        '{cniVersion: "1.0.0", name: $bridge, type: "bridge", bridge: $bridge,
          ipam: {type: "host-local", dataDir: $data, ranges: [[{subnet: $subnet}]]}} + $keys' \
        > "$work/$container.conf"
    cni ADD "$container" && cp "$work/said" "$work/$container.result"
}

# port CONTAINER, address CONTAINER: the name of the host's end, and the address, of the result.
port() { jq -r '.interfaces[1].name // empty' "$work/$1.result" 2> /dev/null; }
address() { jq -r '.ips[0].address // empty | split("/")[0]' "$work/$1.result" 2> /dev/null; }

# --- the kernel ---

# filtering BRIDGE: 1 or 0.
filtering() { ip -d -j link show "$1" 2> /dev/null | jq -r '.[0].linkinfo.info_data.vlan_filtering'; }

# vlans PORT: as in `1 untagged, 5, 100 PVID untagged`.
vlans() {
    [ -n "$1" ] || { echo "no port"; return; }
    bridge -j vlan show dev "$1" 2> /dev/null | jq -r '
        [.[].vlans[]? | (.flags // []) as $flags
            | range(.vlan; (.vlanEnd // .vlan) + 1)
            | [tostring, ($flags[] | {"PVID": "PVID", "Egress Untagged": "untagged"}[.] // .)]
            | join(" ")]
        | join(", ") | if . == "" then "none" else . end'
}

# ports BRIDGE: their names, in one line, or `none`.
ports() {
    [ -n "$(index "$1")" ] || { echo "no bridge"; return; }
    ip -j link show master "$1" | jq -r '[.[].ifname] | sort | join(" ") | if . == "" then "none" else . end'
}
# index LINK, if there is such a link.
index() { ip -j link show "$1" 2> /dev/null | jq -r '.[0].ifindex'; }
# mac LINK [OPTION...]: options of ip, for a link elsewhere.
mac() { ip "${@:2}" -j link show "$1" 2> /dev/null | jq -r '.[0].address'; }
# addresses LINK: the IPv4 ones, or `none`.
addresses() {
    [ -n "$(index "$1")" ] || { echo "no link"; return; }
    ip -4 -j addr show "$1" | jq -r '
        [.[].addr_info[]? | "\(.local)/\(.prefixlen)"]
        | join(" ") | if . == "" then "none" else . end'
}

# losesVLAN CONTAINER VLAN: CHECK, which passed before, refuses a port without the VLAN.
losesVLAN() {
    cni CHECK "$1" && bridge vlan del dev "$(port "$1")" vid "$2" > "$work/said" 2>&1 || return 1
    if cni CHECK "$1"; then
        echo "CHECK passes without VLAN $2" > "$work/said"
        return 1
    fi
    jq -e '.code > 0 and (.msg | length > 0)' "$work/said" > /dev/null
}

# claimCheck NAME CONTAINER VLAN FLAGS...: what CHECK says while a port loses a VLAN.
claimCheck() {
    holds "$1: CHECK passes" cni CHECK "$2"
    holds "$1: CHECK fails when the port has lost VLAN $3" losesVLAN "$2" "$3"
    bridge vlan add dev "$(port "$2")" vid "$3" "${@:4}" 2> /dev/null
    holds "$1: CHECK passes when VLAN $3 is back" cni CHECK "$2"
}

# detaches CONTAINER BRIDGE: DEL takes away the port, the container's end, and the reservation.
detaches() {
    local port address store=$work/addresses/$2
    port=$(port "$1") address=$(address "$1")
    [ -n "$port" ] && [ -n "$(index "$port")" ] && [ -e "$store/$address" ] || return 1
    cni DEL "$1" || return 1
    {
        [ -z "$(index "$port")" ] || echo "left: link $port"
        ! inside "$1" ip link show eth0 2> /dev/null || echo "left: eth0"
        [ ! -e "$store/$address" ] || echo "left: $address"
    } > "$work/said"
    [ ! -s "$work/said" ]
}

# --- no VLAN ---

holds "no vlan: ADD" attach plain br-plain ''
is "no vlan: the bridge filters no VLANs" 0 "$(filtering br-plain)"
holds "no vlan: CHECK passes" cni CHECK plain
holds "no vlan: DEL leaves no port, no reservation" detaches plain br-plain

# --- vlan ---

holds "vlan 100: ADD" attach one br-vlan '"vlan": 100'
is "vlan 100: the bridge is made to filter VLANs" 1 "$(filtering br-vlan)"
is "vlan 100: the host's end is the bridge's port" "$(port one)" "$(ports br-vlan)"
is "vlan 100: the port has VLAN 100 as PVID, untagged, and no VLAN 1" \
    "100 PVID untagged" "$(vlans "$(port one)")"
is "vlan 100: the result lists bridge, host's end, container's end" \
    "br-vlan $(ports br-vlan) eth0" "$(jq -r '[.interfaces[]?.name] | join(" ")' "$work/one.result")"
holds "vlan 100: ADD of a second container" attach two br-vlan '"vlan": 100'
holds "vlan 200: ADD of a third container, same bridge" attach three br-vlan '"vlan": 200'
holds "vlan 200: ADD of a fourth container, same bridge" attach four br-vlan '"vlan": 200'
is "vlan 200: the port has VLAN 200 only" "200 PVID untagged" "$(vlans "$(port three)")"
is "vlan 200: the other ports keep theirs" "100 PVID untagged" "$(vlans "$(port one)")"
holds "a container of VLAN 100 reaches the other one" reaches one "$(address two)"
holds "a container of VLAN 200 reaches the other one" reaches three "$(address four)"
holds "a container of VLAN 100 does not reach one of VLAN 200" misses one "$(address three)"
holds "a container of VLAN 200 does not reach one of VLAN 100" misses four "$(address two)"
claimCheck "vlan 100" one 100 pvid untagged

holds "preserveDefaultVlan true: ADD" attach keeps br-vlan '"vlan": 100, "preserveDefaultVlan": true'
is "preserveDefaultVlan true: the port has VLAN 1 as well, untagged, not as PVID" \
    "1 untagged, 100 PVID untagged" "$(vlans "$(port keeps)")"
holds "preserveDefaultVlan true: CHECK passes" cni CHECK keeps
holds "preserveDefaultVlan true: its VLAN reaches it" reaches one "$(address keeps)"
holds "preserveDefaultVlan false: ADD" attach drops br-vlan '"vlan": 100, "preserveDefaultVlan": false'
is "preserveDefaultVlan false: no VLAN 1" "100 PVID untagged" "$(vlans "$(port drops)")"

for container in one two three four keeps drops; do
    holds "DEL of $container leaves no port, no reservation" detaches $container br-vlan
done
is "after DEL the bridge has no ports" none "$(ports br-vlan)"
holds "a second DEL passes" cni DEL one

# --- vlanTrunk ---

trunk='"vlanTrunk": [{"id": 5}, {"minID": 10, "maxID": 12}]'
holds "vlanTrunk 5, 10-12: ADD" attach trunk br-trunk "$trunk"
is "vlanTrunk: the bridge is made to filter VLANs" 1 "$(filtering br-trunk)"
is "vlanTrunk: the port has VLANs 5, 10, 11, 12 tagged" "5, 10, 11, 12" \
    "$(vlans "$(port trunk)" | sed 's/^1 PVID untagged, //')"
# As in the reference since preserveDefaultVlan's default is false; before, there was none.
is "vlanTrunk without vlan: the native VLAN is 1" "1 PVID untagged, 5, 10, 11, 12" \
    "$(vlans "$(port trunk)")"
claimCheck "vlanTrunk" trunk 11
holds "vlanTrunk, preserveDefaultVlan true: ADD" \
    attach trunkkeeps br-trunk "$trunk, \"preserveDefaultVlan\": true"
is "vlanTrunk, preserveDefaultVlan true: VLAN 1 stays" "1 PVID untagged, 5, 10, 11, 12" \
    "$(vlans "$(port trunkkeeps)")"
holds "vlanTrunk with vlan 100: ADD" attach native br-trunk "$trunk, \"vlan\": 100"
is "vlanTrunk with vlan 100: 100 is the native VLAN, the others tagged" \
    "5, 10, 11, 12, 100 PVID untagged" "$(vlans "$(port native)")"
holds "vlanTrunk with vlan and preserveDefaultVlan true: ADD" \
    attach nativekeeps br-trunk "$trunk, \"vlan\": 100, \"preserveDefaultVlan\": true"
is "vlanTrunk with vlan and preserveDefaultVlan true: VLAN 1 as well" \
    "1 untagged, 5, 10, 11, 12, 100 PVID untagged" "$(vlans "$(port nativekeeps)")"

holds "vlan 11: ADD of a container beside the trunks" attach eleven br-trunk '"vlan": 11'
holds "vlan 13: ADD of a container of a VLAN that no trunk has" attach thirteen br-trunk '"vlan": 13'
for vlan in 11 13; do
    inside trunk ip link add link eth0 name "eth0.$vlan" type vlan id $vlan
    inside trunk ip link set "eth0.$vlan" up
    inside trunk ip addr add "10.9.$vlan.1/24" dev "eth0.$vlan"
done
inside eleven ip addr add 10.9.11.2/24 dev eth0
inside thirteen ip addr add 10.9.13.2/24 dev eth0
holds "the trunk reaches VLAN 11 with its tag" reaches trunk 10.9.11.2
holds "the trunk does not reach VLAN 13, which it lacks" misses trunk 10.9.13.2
bridge vlan add dev "$(port trunk)" vid 13
holds "the trunk reaches VLAN 13 once its port is given that" reaches trunk 10.9.13.2
for container in trunk trunkkeeps native nativekeeps eleven thirteen; do
    holds "DEL of $container leaves no port, no reservation" detaches $container br-trunk
done
is "after DEL the bridge has no ports" none "$(ports br-trunk)"

# --- a VLAN's gateway ---

gateway='"vlan": 100, "isGateway": true'
holds "isGateway, vlan 100: ADD" attach first br-gw "$gateway" 10.9.100.0/24
is "isGateway: the result lists bridge, host's end, container's end, VLAN's gateway" \
    "br-gw $(port first) eth0 br-gw.100" \
    "$(jq -r '[.interfaces[].name] | join(" ")' "$work/first.result" 2> /dev/null)"
is "isGateway: the result's hardware addresses are the links'" \
    "$(mac br-gw) $(mac "$(port first)") $(mac eth0 -n first) $(mac br-gw.100)" \
    "$(jq -r '[.interfaces[].mac] | join(" ")' "$work/first.result" 2> /dev/null)"
is "isGateway: only the container's end has a sandbox" "eth0" \
    "$(jq -r '[.interfaces[] | select(.sandbox // "" != "") | .name] | join(" ")' \
        "$work/first.result" 2> /dev/null)"
is "isGateway: the result's address is the container's end's" 2 \
    "$(jq -r '.ips[0].interface' "$work/first.result" 2> /dev/null)"
is "isGateway: the VLAN's gateway is one end of a veth, and up" "veth up" \
    "$(ip -d -j link show br-gw.100 2> /dev/null | jq -r \
        '.[0] | .linkinfo.info_kind + (if any(.flags[]; . == "UP") then " up" else " down" end)')"
is "isGateway: it has the gateway's address" "10.9.100.1/24" "$(addresses br-gw.100)"
is "isGateway: the bridge has none" none "$(addresses br-gw)"
member=$(ip -j link show br-gw.100 2> /dev/null | jq -r '.[0].link // "no link"')
is "isGateway: its other end is a port, beside the container's" \
    "$(printf '%s\n' "$member" "$(port first)" | sort | xargs)" "$(ports br-gw)"
is "isGateway: that port has VLAN 100 as PVID, untagged, only" "100 PVID untagged" \
    "$(vlans "$member")"
holds "isGateway: the container reaches its gateway" reaches first 10.9.100.1
claimCheck "isGateway" first 100 pvid untagged

before=$(index br-gw.100)
count=$(ip -o link | wc -l)
holds "isGateway, vlan 100: ADD of a second container" attach second br-gw "$gateway" 10.9.100.0/24
is "the second ADD takes the gateway that is there" "${before:-a gateway}, 1 link more" \
    "$(index br-gw.100), $(($(ip -o link | wc -l) - count)) link more"
is "the second ADD lists it, too" "br-gw.100 $(mac br-gw.100)" \
    "$(jq -r '.interfaces[3] | "\(.name) \(.mac)"' "$work/second.result" 2> /dev/null)"
is "the second ADD leaves its address" "10.9.100.1/24" "$(addresses br-gw.100)"
holds "the second container reaches its gateway" reaches second 10.9.100.1
holds "the second container reaches the first" reaches second "$(address first)"

# On the same subnet, so that it is the VLAN that is in the way.
holds "vlan 200: ADD to the same bridge, without gateway" \
    attach other br-gw '"vlan": 200' 10.9.100.0/24
holds "a container of VLAN 200 does not reach VLAN 100's gateway" misses other 10.9.100.1
for container in first second other; do
    holds "DEL of $container leaves no port, no reservation" detaches $container br-gw
done
is "after DEL only the VLAN's gateway is left" "$member" "$(ports br-gw)"
holds "ADD after DEL" attach third br-gw "$gateway" 10.9.100.0/24
is "ADD after DEL takes the gateway that is there" "${before:-a gateway}" "$(index br-gw.100)"
holds "the container reaches it" reaches third 10.9.100.1
holds "DEL leaves no port, no reservation" detaches third br-gw
is "no address is reserved at the end" "" \
    "$(find "$work/addresses" -type f -name '10.*' -printf '%P ' 2>&1)"

# --- an ADD that fails ---

unreachable='"ipam": {"type": "static", "addresses": [{"address": "10.9.1.2/24", "gateway": "10.9.1.1"}],
    "routes": [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]}'
refused() { ! attach "$@" && grep -q 'Network is unreachable' "$work/said"; }
holds "vlan 100, a route nobody can reach: ADD fails" refused fails br-fail "$gateway, $unreachable"
is "a failed ADD takes the bridge and the VLAN's gateway back" "" \
    "$(ip -o link | grep -o 'br-fail[^@:]*' | xargs)"

# --- conf/vlan-*.conflist ---

# joins CONTAINER CONFLIST: ADD of the list's plugin, with reservations kept here.
joins() {
    ip netns add "$1"
    jq --arg data "$work/addresses" '.plugins[0] + {name, cniVersion}
        | if .ipam then .ipam.dataDir = $data else . end' "$2" > "$work/$1.conf"
    cni ADD "$1" && cp "$work/said" "$work/$1.result"
}
for conflist in "$repository"/conf/vlan-*.conflist; do
    name=$(basename "$conflist" .conflist)
    for container in "$name-a" "$name-b"; do
        holds "$name.conflist: ADD of $container" joins "$container" "$conflist"
        holds "$name.conflist: CHECK of $container passes" cni CHECK "$container"
    done
    [ -z "$(address "$name-b")" ] \
        || holds "$name.conflist: one reaches the other" reaches "$name-a" "$(address "$name-b")"
    for container in "$name-a" "$name-b"; do
        holds "$name.conflist: DEL of $container" cni DEL "$container"
    done
done
