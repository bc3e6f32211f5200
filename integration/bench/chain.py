#!/usr/bin/env python3
"""chain.py OURS PEER WORK: times whole chains of plugins, as a runtime calls them, beside the Go plugins.

Every round calls each plugin of the chain for ADD, in order, and for DEL, in reverse, first of one set of
plugins, then of the other; a chain's time is the sum of its calls, each from start to end. Then what the 1,000th
container of a bridge costs beside the 10th, and 200 mappings over 10,000 beside 200 over none, ours alone.

Runs in network and mount namespaces of its own.
"""

import json
import os
import statistics
import subprocess
import sys
import time

OURS, PEER, WORK = sys.argv[1:4]
ROUNDS = int(os.environ.get("CHAIN_ROUNDS", "20"))
CONTAINERS = int(os.environ.get("CHAIN_CONTAINERS", "1000"))


def plugin(kind, network, port=8080):
    """A plugin's configuration in the network."""
    keys = {
        "bridge": {
            "bridge": "br-" + network,
            "isGateway": True,
            "ipMasq": True,
            "ipam": {
                "type": "host-local",
                "dataDir": f"{WORK}/{network}",
                "ranges": [[{"subnet": "10.66.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        "portmap": {
            "runtimeConfig": {
                "portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]
            }
        },
        "bandwidth": {
            "ingressRate": 10**7,
            "ingressBurst": 10**6,
            "egressRate": 10**7,
            "egressBurst": 10**6,
        },
        "firewall": {},
        "tuning": {"sysctl": {"net.core.somaxconn": "500"}},
    }[kind]
    return {"cniVersion": "1.0.0", "name": network, "type": kind} | keys


def call(directory, verb, configuration, container, namespace, previous=None):
    """Runs one plugin; the milliseconds it took, and its result."""
    if previous is not None:
        configuration = configuration | {"prevResult": previous}
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": namespace,
        "CNI_PATH": directory,
        "PATH": os.environ["PATH"],
    }
    text = json.dumps(configuration).encode()
    start = time.perf_counter()
    ended = subprocess.run(
        [f"{directory}/{configuration['type']}"], input=text, env=environment, stdout=subprocess.PIPE
    )
    took = (time.perf_counter() - start) * 1000
    if ended.returncode:
        sys.exit(f"{verb} of {directory}/{configuration['type']}: {ended.stdout.decode()}")
    return took, json.loads(ended.stdout) if verb == "ADD" else None


def chain(directory, kinds, network, container, namespace, port=8080, verbs=("ADD", "DEL")):
    """Adds and removes a container; each verb's milliseconds."""
    took, previous = {}, None
    plugins = [plugin(kind, network, port) for kind in kinds]
    for verb in verbs:
        took[verb] = 0
        for configuration in plugins if verb == "ADD" else reversed(plugins):
            part, result = call(directory, verb, configuration, container, namespace, previous)
            took[verb] += part
            previous = result or previous
    return took


def namespace(name):
    path = f"{WORK}/{name}"
    open(path, "w").close()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    return path


def beside(kinds):
    """The chain, by turns ours and the peer's."""
    places = {"ours": OURS, "peer": PEER}
    paths = {name: namespace(f"{name}-{len(kinds)}") for name in places}
    times = {(name, verb): [] for name in places for verb in ("ADD", "DEL")}
    for turn in range(ROUNDS + 2):
        for name, directory in places.items():
            took = chain(directory, kinds, f"{name}{len(kinds)}", "one", paths[name])
            for verb, part in took.items():
                # The first two rounds make what stays.
                if turn > 1:
                    times[name, verb].append(part)
    print(f"\n{'+'.join(kinds)}, {ROUNDS} rounds, ms\n")
    print(f"{'':12}{'ours':>18}{'peer':>18}{'peer/ours':>11}")
    print(f"{'':12}{'min':>9}{'median':>9}{'min':>9}{'median':>9}")
    for verb in ("ADD", "DEL"):
        ours, peer = times["ours", verb], times["peer", verb]
        ratio = statistics.median(peer) / statistics.median(ours)
        print(
            f"{verb:12}{min(ours):9.2f}{statistics.median(ours):9.2f}"
            f"{min(peer):9.2f}{statistics.median(peer):9.2f}{ratio:10.2f}x"
        )


def many(kinds):
    """What a container costs among others on its bridge."""
    paths, adds, dels = [], [], []
    for number in range(CONTAINERS):
        paths.append(namespace(f"many-{number}"))
        took = chain(OURS, kinds, "many", f"c{number}", paths[-1], 8000 + number, ["ADD"])
        adds.append(took["ADD"])
    for number in reversed(range(CONTAINERS)):
        took = chain(OURS, kinds, "many", f"c{number}", paths[number], 8000 + number, ["DEL"])
        dels.append(took["DEL"])
        subprocess.run(["umount", paths[number]], check=True)
    dels.reverse()
    print(f"\n{'+'.join(kinds)}, ours, among others on one bridge: medians of ten, ms\n")
    for verb, times in (("ADD", adds), ("DEL", dels)):
        few, all = statistics.median(times[5:15]), statistics.median(times[-10:])
        print(f"{verb} of the 10th {few:.2f}, of the {CONTAINERS}th {all:.2f}: {all / few:.2f}x")


def ports():
    """200 mappings over 10,000, and over none: the plugin alone."""

    def add(number, verbs=("ADD", "DEL")):
        mappings = [
            {"hostPort": 1000 + number * 200 + i, "containerPort": 1000 + i, "protocol": "tcp"}
            for i in range(200)
        ]
        configuration = plugin("portmap", "ports")
        configuration["runtimeConfig"] = {"portMappings": mappings}
        previous = {
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "eth0", "sandbox": path}],
            "ips": [{"address": f"10.67.0.{number + 2}/16", "interface": 0}],
        }
        return {
            verb: call(OURS, verb, configuration, f"p{number}", path, previous)[0] for verb in verbs
        }

    path = namespace("ports")
    few, lots = [], []
    add(60)
    for _ in range(10):
        few.append(add(60))
    for number in range(50):
        add(number, ["ADD"])
    for _ in range(10):
        lots.append(add(60))
    print("\nportmap, 200 mappings, ours: medians of ten, ms\n")
    for verb in ("ADD", "DEL"):
        none, over = (statistics.median(part[verb] for part in parts) for parts in (few, lots))
        print(f"{verb} over none {none:.2f}, over 10,000 {over:.2f}: {over / none:.2f}x")


os.makedirs(WORK, exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "none", WORK], check=True)
subprocess.run(["mount", "--make-private", WORK], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
beside(["bridge", "portmap", "firewall"])
beside(["bridge", "portmap", "bandwidth", "firewall", "tuning"])
ports()
many(["bridge", "portmap", "firewall"])
