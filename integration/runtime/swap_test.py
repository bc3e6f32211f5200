"""Programs swapped while containers run: Debian's Go plugins for ours, and ours for Debian's."""

import concurrent.futures
import json
import os
import pathlib
import shutil

import containerd_test as containerd
import image
from support import (UNPACKED, Failure, Network, claim, configure, conflist, equal, install, leases, leaving_nothing, main,
                     make_neighbour, output, run, soon)

PEER = pathlib.Path(os.environ["PEER"])
# Ours, and the directory that runtimes and callers of this test use.
OWN, USED = pathlib.Path("/opt/own"), UNPACKED


def use(programs):
    """Puts programs where runtimes find them, each name whole at every moment, as an upgrade does."""
    USED.mkdir(parents=True, exist_ok=True)
    for path in programs.iterdir():
        if path.is_dir():
            continue
        shutil.copy2(path, USED / ".new")
        (USED / ".new").rename(USED / path.name)


# A chain that the Go plugins of both versions know, with all that leaves something on a host.
CHAIN = {
    "cniVersion": "1.0.0", "name": "swapped",
    "plugins": [
        {**conflist("pods")["plugins"][0], "bridge": "cni-swapped"},
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "1024"}, "mtu": 1400},
    ],
}
RUNTIME = {"portMappings": [{"hostPort": 18050, "containerPort": 80, "protocol": "tcp"}],
           "bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000, "egressRate": 8000000, "egressBurst": 800000}}
AT_ONCE = 8


def runtime_config(number):
    """What a runtime gives container number so and so."""
    return {**RUNTIME, "portMappings": [{"hostPort": 18050 + number, "containerPort": 80, "protocol": "tcp"}]}


def swap(first, second, who, whom):
    """Attaches containers with one set of programs, several at once, and detaches them with the other."""
    network = Network(CHAIN, USED)
    # What is shared stays for the next container, of either set.
    for programs in first, second:
        use(programs)
        output("ip netns add warm")
        network.add("warm", **RUNTIME)
        network.delete("warm", **RUNTIME)
        output("ip netns del warm")
    # What the Go plugins leave of all that goes when ours remove a container of theirs, or with GC.
    if second is OWN:
        use(first)
        output("ip netns add warm")
        network.add("warm", **RUNTIME)
        use(second)
        network.delete("warm", **RUNTIME)
        output("ip netns del warm")
    Network(CHAIN, OWN).collect([])
    use(first)
    containers = [f"c{number}" for number in range(AT_ONCE)]
    left = "GC of ours leaves nothing" if second is PEER else "nothing is left"
    with leaving_nothing(f"{AT_ONCE} containers, all but the first attached at once by {who}, "
                         f"and detached by {whom}: {left}"):
        for container in containers:
            output(f"ip netns add {container}")
        # The Go plugins look for the chains all containers share and then make them, so that of several first ADDs at
        # once one may end with "File exists": the first container is attached by itself.
        network.add(containers[0], **runtime_config(0))
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda number: network.add(containers[number], **runtime_config(number)), range(1, AT_ONCE)))
        equal(f"{AT_ONCE} containers of {who} hold two addresses each", len(leases("swapped")), 2 * AT_ONCE)
        # Half is detached while the programs are swapped, and the other half afterwards; of every fourth the
        # namespace is gone.
        for container in containers[::4]:
            output(f"ip netns del {container}")
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            halves = [pool.submit(detach, network, number) for number in range(1, AT_ONCE, 2)]
            use(second)
            for half in halves:
                half.result()
            list(pool.map(lambda number: detach(network, number), range(0, AT_ONCE, 2)))
        equal(f"{whom} have removed every container's link", json.loads(output("ip -j link show type veth"))[1:], [])
        for container in containers:
            run(f"ip netns del {container}")
        if second is PEER:
            # They know nothing of the elements that lead to a container.
            Network(CHAIN, OWN).collect([])
    equal("no address stays reserved", leases("swapped"), [])


def detach(network, number):
    """DEL of a container, of every fourth without its namespace, and again if it fails, as runtimes do."""
    container = f"c{number}"
    try:
        network.delete(container, number % 4 != 0, **runtime_config(number))
    except Failure as failure:
        # The Go plugins' iptables fails once the link is gone and the chain never was.
        if "does not exist" not in str(failure):
            raise
        network.delete(container, number % 4 != 0, **runtime_config(number))


def direct_from_peer():
    """Direct calls: from Debian's Go plugins to ours"""
    swap(PEER, OWN, "the Go plugins", "ours")


def direct_to_peer():
    """Direct calls: from ours to Debian's Go plugins"""
    swap(OWN, PEER, "ours", "the Go plugins")


def under_ctr(first, second, who, whom):
    """Containers of ctr that are started with one set of programs and removed with the other."""
    containers = [f"{name}-from-{first.name}" for name in ("one", "two", "three")]
    configure(CHAIN)
    for programs in first, second:
        use(programs)
        output(*containerd.run_container(f"warm-{programs.name}-from-{first.name}", "--rm", command=["true"]))
    Network(CHAIN, OWN).collect([])
    use(first)
    left = "GC of ours leaves nothing" if second is PEER else "nothing is left"
    with leaving_nothing(f"containers that ctr started with {who} and removed with {whom}: {left}"):
        # Each waits for a file of its own to end, and then ctr calls DEL.
        pathlib.Path("/tmp/gates").mkdir(exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            ended = [pool.submit(run, *containerd.run_container(
                name, "--rm --mount type=bind,src=/tmp/gates,dst=/tmp,options=rbind:rw",
                command=["sh", "-c", f"ip -o addr show eth0; while [ ! -e /tmp/{name} ]; do sleep 0.1; done"]))
                for name in containers]
            claim(f"three containers run with {who}", soon(lambda: len(leases("swapped")) == 6, 20), leases("swapped"))
            claim("and all are running", soon(lambda: output(*containerd.ctr("task list")).count("RUNNING") == 3, 10))
            use(second)
            for name in containers:
                pathlib.Path(f"/tmp/gates/{name}").touch()
            for name, future in zip(containers, ended):
                claim(f"ctr removes {name} with {whom}", future.result().returncode == 0, future.result().stdout)
        if second is PEER:
            Network(CHAIN, OWN).collect([])
    equal("no address stays reserved", leases("swapped"), [])


def ctr_from_peer():
    """containerd: from Debian's Go plugins to ours"""
    under_ctr(PEER, OWN, "the Go plugins", "our plugins")


def ctr_to_peer():
    """containerd: from ours to Debian's Go plugins"""
    under_ctr(OWN, PEER, "our plugins", "the Go plugins")


if __name__ == "__main__":
    install()
    shutil.move(UNPACKED, OWN)
    make_neighbour()
    configure(CHAIN)
    containerd.daemon = containerd.Daemon()
    containerd.import_images()
    print(f"# Debian's containernetworking-plugins {os.environ['PEER_VERSION']}")
    try:
        main(direct_from_peer, direct_to_peer, ctr_from_peer, ctr_to_peer)
    finally:
        containerd.daemon.end()
