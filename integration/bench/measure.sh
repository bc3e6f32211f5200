#!/bin/bash
# measure.sh OURS PEER WORK: the measurements, in namespaces that bench.sh made.
set -euo pipefail

ours=$1 peer=$2 work=$3
here=$(cd "$(dirname "$0")" && pwd)
held=60000
mkdir "$work/figures" "$work/netns"

# netns NAME: makes a network namespace and prints its path.
netns() {
    touch "$work/netns/$1"
    unshare --net="$work/netns/$1" true
    echo "$work/netns/$1"
}

# bridge_config NAME NUMBER: prints the path of a dual-stack bridge's configuration.
bridge_config() {
    jq -n --arg name "$1" --arg v4 "10.$2.0.0/16" --arg v6 "fd00:$2::/64" \
        --arg data "$work/data-$1" '{
        cniVersion: "1.0.0", name: "bench-\($name)", type: "bridge", bridge: "bench-\($name)",
        isGateway: true, mtu: 1500,
        ipam: {type: "host-local", dataDir: $data, ranges: [[{subnet: $v4}], [{subnet: $v6}]],
               routes: [{dst: "0.0.0.0/0"}, {dst: "::/0"}]}
    }' > "$work/$1.json"
    echo "$work/$1.json"
}

# store NAME COUNT: makes a host-local store in which so many addresses are held, written as the
# reference writes it, and prints the path of its configuration.
store() {
    local directory="$work/store-$1/bench"
    mkdir -p "$directory"
    awk -v count="$2" -v directory="$directory" 'BEGIN {
        for (i = 1; i <= count; i++) {
            address = sprintf("10.84.%d.%d", (i + 1) / 256, (i + 1) % 256)
            file = directory "/" address
            printf "held-%d\r\neth0", i > file
            close(file)
        }
        if (count) printf "%s", address > (directory "/last_reserved_ip.0")
    }'
    jq -n --arg data "$work/store-$1" '{
        cniVersion: "1.0.0", name: "bench", type: "bridge",
        ipam: {type: "host-local", dataDir: $data, ranges: [[{subnet: "10.84.0.0/16"}]]}
    }' > "$work/store-$1.json"
    echo "$work/store-$1.json"
}

# race FILE ARGUMENT...: runs a race and keeps its figures in the file.
race() {
    "$work/race" "${@:2}" > "$work/figures/$1"
}

# table TITLE COLUMNS RATIOS TARGETS FILE...
table() {
    printf '\n%s\n\n' "$1"
    (cd "$work/figures" && awk -v columns="$2" -v ratios="$3" -v targets="$4" -f "$here/table.awk" "${@:5}")
}

# The start-up floor is one only while it gives the plugins' answer.
diff <(CNI_COMMAND=VERSION "$ours/bridge" < /dev/null) <(CNI_COMMAND=VERSION "$work/version")

rounds=500
race version 10 $rounds \
    ours VERSION "$ours/bridge" /dev/null - \
    peer VERSION "$peer/bridge" /dev/null - \
    floor VERSION "$work/version" /dev/null -
table "Start-up, $rounds rounds, ms" "ours peer floor" "peer/ours ours/floor" \
    "VERSION:ours/floor:most:1.6" version

rounds=200
race bridge 3 $rounds \
    ours ADD,CHECK,DEL "$ours/bridge" "$(bridge_config ours 81)" "$(netns ours)" \
    peer ADD,CHECK,DEL "$peer/bridge" "$(bridge_config peer 82)" "$(netns peer)" \
    floor ADD,DEL "$work/floor" /dev/null "$(netns floor)"
table "bridge with host-local, dual stack, $rounds rounds, ms
(peer/floor is the most that peer/ours can be)" \
    "ours peer floor" "peer/ours ours/floor peer/floor" \
    "ADD:peer/ours:least:4.0 CHECK:peer/ours:least:1.5 DEL:peer/ours:least:1.5" bridge

rounds=200
peer_rounds=5
ours_held=$(store ours-held $held)
race first 0 1 ours ADD,DEL "$ours/host-local" "$ours_held" -
race store-ours 2 $rounds \
    ours ADD,DEL "$ours/host-local" "$(store ours-empty 0)" - \
    ours-held ADD,DEL "$ours/host-local" "$ours_held" -
race store-peer 1 $peer_rounds \
    peer ADD,DEL "$peer/host-local" "$(store peer-empty 0)" - \
    peer-held ADD,DEL "$peer/host-local" "$(store peer-held $held)" -
table "host-local, empty and with $held addresses held, $rounds rounds (peer: $peer_rounds), ms" \
    "ours ours-held peer peer-held" "ours-held/ours peer-held/peer peer-held/ours-held" \
    "ADD:ours-held/ours:most:2.0 DEL:ours-held/ours:most:2.0" store-ours store-peer
awk '$1 == "ADD" {
    printf "\nThe first ADD on a store that another program filled: %.2f ms, once.\n", $3 / 1000
}' "$work/figures/first"

printf '\nSize, MB (a million bytes)\n\n'
{
    for side in ours peer; do
        directory=${!side}
        printf 'program\t%s\t%d\n' $side "$(stat -L -c %s "$directory/bridge")"
        awk -v side=$side '$1 == "ADD" && $2 == side {
            printf "peak memory of ADD\t%s\t%d\n", side, $5 * 1024
        }' "$work/figures/bridge"
    done
} | awk -F '\t' '
    { size[$1, $2] = $3 / 1e6; if (!($1 in seen)) { seen[$1] = 1; order[++rows] = $1 } }
    END {
        printf "%-20s %8s %8s %10s\n", "", "ours", "peer", "peer/ours"
        for (i = 1; i <= rows; i++) {
            ours = size[order[i], "ours"]; peer = size[order[i], "peer"]
            printf "%-20s %8.2f %8.2f %9.2fx  %s (target: below 12 MB)\n", \
                order[i], ours, peer, peer / ours, ours < 12 ? "ok" : "MISSED"
        }
    }'
