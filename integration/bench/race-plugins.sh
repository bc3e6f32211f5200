#!/bin/bash
# race-plugins.sh OURS PEER RACE ROUNDS PLUGIN...: races each plugin against the peer's, where that has
# it, in the namespaces it is started in, and prints a table.
set -euo pipefail

ours=$1 peer=$2 race=$3 rounds=$4
plugins=("${@:5}")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'umount "$work"/netns/* 2> /dev/null; rm -rf "$work"' EXIT
mkdir "$work/netns" "$work/figures"
ip link set lo up
# Two cables: a link can be lent to one container only.
for side in ours peer; do
    ip link add "up-$side" type veth peer name "far-$side"
    ip link set "up-$side" up
    ip link set "far-$side" up
done

# configuration PLUGIN SIDE NETNS: prints the path of a side's configuration.
configuration() {
    local number=81
    [ "$2" = ours ] || number=82
    jq -n --arg plugin "$1" --arg side "$2" --arg netns "$3" --arg number "$number" --arg data "$work/data" '
        def addresses: {ipam: {type: "host-local", dataDir: $data,
            ranges: [[{subnet: "10.\($number).0.0/16"}], [{subnet: "fd00:\($number)::/64"}]],
            routes: [{dst: "0.0.0.0/0"}, {dst: "::/0"}]}};
        def chained: {prevResult: {cniVersion: "1.0.0",
            interfaces: [{name: "eth0", mac: "", sandbox: $netns}],
            ips: [{address: "10.\($number).0.2/16", gateway: "10.\($number).0.1", interface: 0}],
            routes: [{dst: "0.0.0.0/0"}]}};
        {cniVersion: "1.0.0", name: "\($plugin)-\($side)", type: $plugin} + {
            ptp: addresses, macvlan: (addresses + {master: "up-ours"}),
            ipvlan: (addresses + {master: "up-ours"}), dummy: addresses, tap: addresses,
            vlan: (addresses + {master: "up-ours", vlanId: ($number | tonumber)}),
            "host-device": (addresses + {device: "up-\($side)"}),
            tuning: (chained + {mtu: 1400, sysctl: {"net.core.somaxconn": "300"}}),
            sbr: chained, vrf: (chained + {vrfname: "red"})}[$plugin]
    ' > "$work/$1-$2.json"
    echo "$work/$1-$2.json"
}

# netns PLUGIN SIDE: makes a container and prints its path; with an interface for what is chained to one.
netns() {
    local path=$work/netns/$1-$2 number=81
    [ "$2" = ours ] || number=82
    touch "$path"
    unshare --net="$path" true
    nsenter --net="$path" sh -e > /dev/null <<END
        ip link set lo up
        sysctl -qw net.ipv6.conf.default.accept_dad=0
        case $1 in tuning | sbr | vrf)
            ip link add eth0 type veth peer name other
            ip link set other up
            ip link set eth0 up
            ip addr add 10.$number.0.2/16 dev eth0
            ip route add default via 10.$number.0.1
        esac
END
    echo "$path"
}

# run PLUGIN WARMUP ROUNDS: one race, in containers of its own.
run() {
    local side path contestants=()
    for side in ours peer; do
        [ -x "${!side}/$1" ] || continue
        [ ! -e "$work/netns/$1-$side" ] || umount "$work/netns/$1-$side"
        path=$(netns "$1" $side)
        contestants+=("$side" ADD,DEL "${!side}/$1" "$(configuration "$1" $side "$path")" "$path")
    done
    "$race" "$2" "$3" "${contestants[@]}" 2> "$work/errors" | sed "s/^/$1 /" \
        || { cat "$work/errors" >&2; return 1; }
}

for plugin in "${plugins[@]}"; do
    if [ "$plugin" = sbr ]; then
        # The Go plugin's DEL leaves routes that its next ADD in that container falls over.
        for _ in $(seq "$rounds"); do run sbr 0 1; done | sort -t $'\t' -k 1,2 -k 4n | awk -F '\t' '
            { key = $1 "\t" $2; if (!(key in n)) { order[++keys] = key; least[key] = $3 }
              n[key]++; time[key, n[key]] = $4; if ($5 > memory[key]) memory[key] = $5 }
            END { for (i = 1; i <= keys; i++) { key = order[i]
                print key "\t" least[key] "\t" time[key, int((n[key] + 1) / 2)] "\t" memory[key] } }'
    else
        run "$plugin" 2 "$rounds"
    fi > "$work/figures/$plugin"
done
cd "$work/figures"
awk -v columns="ours peer" -v ratios="peer/ours" -v label=18 -f "$here/table.awk" "${plugins[@]}"
