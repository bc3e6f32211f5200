"""containerd: `ctr run --cni`, and pods through the container runtime interface."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import cri
import image
from support import (BEYOND, NEIGHBOUR, OUTSIDE, PACKAGED, Failure, Network, asking, claim, configure, conflist, equal,
                     install, leases, leaving_nothing, main, make_neighbour, output, page, run, serving, soon, succeeds,
                     REPOSITORY)

WORK = pathlib.Path("/tmp/containerd")
SOCKET = WORK / "socket"


class Daemon:
    """A containerd with all its files in WORK, which looks for plugins where the package puts them."""

    def __init__(self):
        WORK.mkdir(exist_ok=True)
        (WORK / "config.toml").write_text(f"""
            version = 2
            root = "{WORK}/root"
            state = "{WORK}/state"
            [grpc]
              address = "{SOCKET}"
            [plugins."io.containerd.internal.v1.opt"]
              path = "{WORK}/opt"
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "{image.PAUSE}"
              disable_apparmor = true
              restrict_oom_score_adj = true
              [plugins."io.containerd.grpc.v1.cri".cni]
                bin_dir = "{PACKAGED}"
                conf_dir = "/etc/cni/net.d"
              [plugins."io.containerd.grpc.v1.cri".containerd]
                snapshotter = "native"
            """)
        self.start()

    def start(self):
        """Starts it, and waits until it answers."""
        with open(WORK / "log", "a") as log:
            self.process = subprocess.Popen(["containerd", "-c", WORK / "config.toml"], stdout=log, stderr=log)
        if not soon(lambda: run(f"ctr -a {SOCKET} version").returncode == 0, 20):
            raise Failure(f"containerd does not start: {(WORK / 'log').read_text()[-800:]}")

    def end(self, how=signal.SIGTERM):
        """Ends it, and leaves its containers running."""
        self.process.send_signal(how)
        self.process.wait(20)


def ctr(*words):
    """The arguments of containerd's own client, for containers of this test."""
    return [f"ctr -a {SOCKET} -n test", *words]


def run_container(name, *options, command=("sleep", "1000")):
    """The arguments that start a container on the first network of /etc/cni/net.d."""
    return ctr(f"run --cni --snapshotter native --cgroup /ctr/{name}", " ".join(options), image.BOX, [name, *command])


def import_images():
    """Gives containerd the two images."""
    for name, content in (("box", image.box()), ("pause", image.pause())):
        path = WORK / f"{name}.tar"
        path.write_bytes(content)
        for namespace in "test", "k8s.io":
            output(f"ctr -a {SOCKET} -n {namespace} image import --snapshotter native {path}")


def is_lacking(network):
    """Whether this kernel lacks the kind of link that a network needs."""
    probes = {
        "dummy": "name probe type dummy", "vrf": "name probe type vrf table 5",
        "ipvlan": "link eth0 name probe type ipvlan", "vlan": "link eth0 name probe type vlan id 5",
    }
    needed = [probes[plugin["type"]] for plugin in network["plugins"] if plugin["type"] in probes]
    if any({"vlan", "vlanTrunk"} & plugin.keys() for plugin in network["plugins"]):
        needed.append("name probe type bridge vlan_filtering 1")
    for probe in needed:
        if run(f"ip link add {probe}").returncode:
            return True
        run("ip link del probe")
    return False


def lend_device(network):
    """Makes the link that a network of host-device lends, which ends with the container's namespace, being a veth."""
    device = network["plugins"][0].get("device")
    if device:
        output(f"ip link add {device} type veth peer name eth1 netns {NEIGHBOUR}")


def own_networks():
    """Every network of conf/ under ctr, with the plugins of the archive"""
    lacking = []
    for path in sorted((REPOSITORY / "conf").glob("*.conflist")):
        network = conflist(path.stem)
        if is_lacking(network):
            lacking.append(path.stem)
            continue
        # The bridge stays for the next container, so a first one makes it.
        configure(network)
        lend_device(network)
        output(*run_container("first", "--rm", command=["true"]))
        with leaving_nothing(f"{path.name}: the host is as before"):
            lend_device(network)
            text = succeeds(f"{path.name}: a container runs and ends", *run_container(
                "c1", "--rm", command=["sh", "-c", "ip -o addr; ip route"]))
            wanted = re.findall(r'"subnet": "([0-9.]+)\.0/24|"subnet": "(fd00:[0-9]+)::', path.read_text())
            for subnet in filter(None, sum(wanted, ())):
                claim(f"{path.name}: it had an address of {subnet}", f" {subnet}" in text, text)
        equal(f"{path.name}: no address stays reserved", leases(network["name"]), [])
        for link in [link for link in re.findall(r"^\d+: ([\w-]+)", output("ip -o link"), re.M) if link.startswith("cni-")]:
            run(f"ip link del {link}")
    # They are not left out: the guest's kernel has what they need.
    print(f"# this kernel lacks what these need, which `make guest-test` has: {' '.join(lacking) or 'none'}")


def killed_runtime():
    """What containers of ctr leave that it removes without DEL, and GC clears away"""
    network = conflist("pods")
    configure(network)
    output(*run_container("first-kept", "--rm", command=["true"]))
    own = Network(network, PACKAGED)
    with leaving_nothing("after GC and DEL of the one that stayed, the host is as before"):
        for name in "kept", "lost", "gone":
            output(*run_container(name, "-d"))
        for name in "lost", "gone":
            output(*ctr(f"task rm -f {name}"))
            output(*ctr(f"container rm {name}"))
        held = leases("pods")
        equal("three containers hold six addresses, though two of them are no more", len(held), 6)
        valid = [(name, interface) for name, interface in (text_of_lease("pods", address) for address in held)
                 if "kept" in name]
        equal("host-local knows the one that stayed by its container ID", len(valid), 2)
        own.collect(set(valid))
        equal("GC frees what the others held", len(leases("pods")), 2)
        kept = output(*ctr("task exec --exec-id e1 kept ip -o -4 addr show eth0"))
        address = re.search(r"10\.99\.0\.\d+", kept)[0]
        succeeds("the one that stayed is still reached", f"ping -n -c 1 -W 3 {address}")
        output(*ctr("task rm -f kept"))
        output(*ctr("container rm kept"))
        own.collect([])
        # The library's notes of attachments are the runtime's.
        for file in pathlib.Path("/var/lib/cni/results").iterdir():
            file.unlink()
    equal("no address stays reserved", leases("pods"), [])


def text_of_lease(network, address):
    """The container ID and the interface that an address is reserved for."""
    return tuple(pathlib.Path(f"/var/lib/cni/networks/{network}/{address}").read_text().split())


class Pod:
    """A pod with a web server, on the first network of /etc/cni/net.d."""

    def __init__(self, runtime, name, text="page", **extras):
        self.runtime, self.text = runtime, text
        self.id = runtime.run_pod(name, **extras)
        self.container = runtime.start(self.id, image.BOX, serving(text))
        self.addresses = runtime.addresses(self.id)
        if not soon(lambda: page(self.addresses[0], 80) == f"{text}\n"):
            raise Failure(f"{name} serves no page at {self.addresses}")

    def ask(self, address, port):
        """What it gets from a web server."""
        return self.runtime.execute(self.container, asking(address, port))

    def remove(self):
        """Stops it and removes it."""
        self.runtime.stop(self.id)
        self.runtime.remove(self.id)


def pods():
    """Pods of the container runtime interface, with the plugins of the package"""
    configure(conflist("pods"))
    runtime = cri.Runtime(SOCKET)
    print(f"# {runtime.version()}")
    claim("the runtime has found the network", soon(runtime.is_network_ready, 10))
    warm_up(runtime)
    with leaving_nothing("after two pods the host is as before"):
        one = Pod(runtime, "one", "first page", port_mappings=[mapping(18080), mapping(18081, host_ip=OUTSIDE[4])])
        two = Pod(runtime, "two", "second page", annotations=LIMITS)
        equal("a pod has an address of each family", [family(address) for address in one.addresses], [4, 6])
        for number in 0, 1:
            equal(f"pods reach each other by IPv{4 + 2 * number}", two.ask(one.addresses[number], 80), "first page")
        published(one, "a pod", "first page", 18080)
        equal("a port of one address of the host leads to it", page(OUTSIDE[4], 18081, NEIGHBOUR), "first page\n")
        equal("and of no other", page("127.0.0.1", 18081), "")
        claim("a pod reaches the outside", "1 packets received" in one.runtime.execute(
            one.container, ["ping", "-c", "1", "-W", "3", BEYOND[4]]))
        claim("and by IPv6", "1 packets received" in one.runtime.execute(
            one.container, ["ping6", "-c", "1", "-W", "3", BEYOND[6]]))
        shaped(two)
        with leaving_nothing("a pod in the host's network makes no call"):
            third = runtime.run_pod("host", linux={"security_context": {"namespace_options": {"network": 2}}})
            runtime.stop(third)
            runtime.remove(third)
        one.remove()
        two.remove()
        equal("a port leads nowhere afterwards", page(OUTSIDE[4], 18080, NEIGHBOUR), "")
    equal("no address stays reserved", leases("pods"), [])


def warm_up(runtime):
    """Makes what is shared and stays for the next: bridge, tables, the tree of classes."""
    Pod(runtime, f"first-{time.monotonic_ns()}", port_mappings=[mapping(18000)], annotations=LIMITS).remove()


LIMITS = {"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "4M"}


def mapping(port, **keys):
    """A port of the host that leads to a pod's web server."""
    return {"protocol": "TCP", "container_port": 80, "host_port": port, **keys}


def published(pod, who, text, port):
    """Claims that a port of the host leads to a pod, from wherever one may ask."""
    for family in 4, 6:
        equal(f"a port of the host leads to {who}, for a neighbour by IPv{family}",
              page(OUTSIDE[family], port, NEIGHBOUR), f"{text}\n")
        equal(f"for the host itself by IPv{family}", page(OUTSIDE[family], port), f"{text}\n")
        equal(f"for {who} itself by IPv{family}", pod.ask(OUTSIDE[family], port), text)
    equal("and at 127.0.0.1", page("127.0.0.1", port), f"{text}\n")


def family(address):
    """The family of an address: 4 or 6."""
    return 6 if ":" in address else 4


def shaped(pod):
    """Claims that a pod's limits are in force, as tc, nft and the packets tell it."""
    classes = "\n".join(output(f"tc class show dev {link['ifname']}") for link in json.loads(output("ip -j link")))
    claim("what a pod receives is held to 8 Mbit/s", re.search(r"class htb .*\b(rate|ceil) 8Mbit", classes), classes)
    claim("what it sends is held to 4 Mbit/s", re.search(r"class htb .*\b(rate|ceil) 4Mbit", classes), classes)
    maps = output("nft list ruleset netdev")
    claim("the map of classes names the pod", pod.id in maps, maps)
    pod.runtime.execute(pod.container, ["sh", "-c", "head -c 2000000 /dev/zero > /tmp/large"])
    start = time.monotonic()
    got = run(f"curl -s -m 20 -o /dev/null -w %{{size_download}} http://{pod.addresses[0]}/large").stdout
    rate = int(got or 0) * 8 / (time.monotonic() - start) / 1e6
    claim(f"2 MB of a pod's page come at the limit's pace ({rate:.1f} Mbit/s)", 2.5 < rate < 4.4)


def restarts():
    """containerd ends, or is killed, between ADD and DEL"""
    global daemon
    configure(conflist("pods"))
    runtime = cri.Runtime(SOCKET)
    warm_up(runtime)
    for how, name in (signal.SIGTERM, "ended"), (signal.SIGKILL, "killed"):
        with leaving_nothing(f"after containerd was {name}, came back and removed a pod, the host is as before"):
            pod = Pod(runtime, f"before-{name}", port_mappings=[mapping(18090)], annotations=LIMITS)
            daemon.end(how)
            equal(f"a pod's port works while containerd is {name}", page(OUTSIDE[4], 18090, NEIGHBOUR), "page\n")
            daemon.start()
            equal("and when it is back", page(OUTSIDE[4], 18090, NEIGHBOUR), "page\n")
            pod.remove()
    with leaving_nothing("a pod whose namespace is gone before its DEL leaves nothing"):
        pod = Pod(runtime, "torn", port_mappings=[mapping(18091)], annotations=LIMITS)
        for file in pathlib.Path("/run/netns").glob("cni-*"):
            output(f"umount -l {file}")
            file.unlink()
        pod.remove()
    killed_while_adding(runtime)


def killed_while_adding(runtime):
    """Kills containerd at moments of RunPodSandbox, and lets GC clear up what no pod owns."""
    network = Network(conflist("pods"), PACKAGED)
    left = []
    with leaving_nothing("containerd killed at eight moments of starting a pod: removal and GC leave nothing"):
        for number in range(8):
            caller = subprocess.Popen(
                ["/usr/bin/python3", "-B", "-c",
                 f"import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r}); import cri;"
                 f"cri.Runtime({str(SOCKET)!r}).run_pod('half-{number}')"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            soon(lambda: f"RunPodSandbox for &PodSandboxMetadata{{Name:half-{number}," in (WORK / "log").read_text(), 3)
            time.sleep(0.006 * number)
            daemon.end(signal.SIGKILL)
            caller.kill()
            caller.wait()
            daemon.start()
        left = leases("pods")
        for line in output(f"ctr -a {SOCKET} -n k8s.io container ls -q").split():
            for remove in runtime.stop, runtime.remove:
                try:
                    remove(line)
                except Failure as error:
                    print(f"# {error}")
        network.collect([])
        for file in pathlib.Path("/run/netns").glob("cni-*"):
            run(f"umount -l {file}")
            file.unlink()
    print(f"# before that, {len(left)} addresses were held")


if __name__ == "__main__":
    install()
    make_neighbour()
    configure(conflist("pods"))
    daemon = Daemon()
    import_images()
    print(f"# {output('containerd --version')}, {output('runc --version').splitlines()[0]}")
    try:
        main(own_networks, killed_runtime, pods, restarts)
    finally:
        daemon.end()
