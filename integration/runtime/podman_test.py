"""podman with its CNI backend: networks that it writes itself, and one that an administrator wrote."""

import json
import os
import pathlib
import re
import shutil
import time

import image
from support import (BEYOND, CONFIGURATIONS, NEIGHBOUR, OUTSIDE, PACKAGED, asking, claim, configure, conflist, equal, install,
                     leases, leaving_nothing, main, make_neighbour, output, page, run, serving, soon, succeeds)

WORK = pathlib.Path("/tmp/podman")


def set_up():
    """podman's own configuration, and its image."""
    WORK.mkdir()
    (WORK / "containers.conf").write_text(f"""
        [containers]
        apparmor_profile = "unconfined"
        default_sysctls = []
        default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
        log_driver = "k8s-file"
        [network]
        network_backend = "cni"
        cni_plugin_dirs = ["{PACKAGED}"]
        network_config_dir = "{CONFIGURATIONS}"
        default_subnet = "10.93.0.0/24"
        [engine]
        cgroup_manager = "cgroupfs"
        events_logger = "file"
        runtime = "runc"
        """)
    (WORK / "storage.conf").write_text(f"""
        [storage]
        driver = "overlay"
        graphroot = "{WORK}/root"
        runroot = "{WORK}/run"
        """)
    os.environ["CONTAINERS_CONF"] = str(WORK / "containers.conf")
    os.environ["CONTAINERS_STORAGE_CONF"] = str(WORK / "storage.conf")
    (WORK / "box.tar").write_bytes(image.box())
    configure()
    podman(f"load --quiet --input {WORK}/box.tar")


def podman(*words):
    """What podman prints, which must succeed."""
    return output(f"podman --tmpdir {WORK}/tmp", *words)


def start(name, network, *options, text=None):
    """Starts a container with a web server, which serves its own name."""
    podman("run --detach", f"--name {name} --network {network} --cgroup-parent podman", " ".join(options), image.BOX,
           serving(text or name))
    if not soon(lambda: "httpd" in podman(f"exec {name} ps"), 5):
        claim(f"{name} serves its page", False, podman(f"logs {name}"))


def addresses(name, network):
    """A container's addresses on a network: IPv4 and IPv6."""
    attached = json.loads(podman(f"inspect {name}"))[0]["NetworkSettings"]["Networks"][network]
    return attached["IPAddress"], attached["GlobalIPv6Address"]


def remove(*names):
    """Removes containers at once, which detaches them."""
    podman("rm --force --time 0", " ".join(names))


def own_network():
    """A network of `network create`, dual stack, with what podman puts into its chain"""
    podman("network create --subnet 10.93.1.0/24 --ipv6 --subnet fd93:1::/64 --disable-dns dual")
    written = json.loads((CONFIGURATIONS / "dual.conflist").read_text())
    chain = [plugin["type"] for plugin in written["plugins"]]
    print(f"# podman wrote cniVersion {written['cniVersion']}: {' '.join(chain)}")
    equal("podman's chain is the one it documents", chain, ["bridge", "portmap", "firewall", "tuning"])
    start("first", "dual", "--publish 18000:80")
    remove("first")

    with leaving_nothing("after two containers the host is as before"):
        start("one", "dual", "--publish 18081:80")
        start("two", "dual")
        four, six = addresses("one", "dual")
        equal("a container reaches another by IPv4", podman("exec two", asking(four, 80)), "one")
        equal("and by IPv6", podman("exec two", asking(six, 80)), "one")
        for family in 4, 6:
            equal(f"a published port leads to it, for a neighbour by IPv{family}",
                  page(OUTSIDE[family], 18081, NEIGHBOUR), "one\n")
            equal(f"for the host itself by IPv{family}", page(OUTSIDE[family], 18081), "one\n")
            equal(f"for another container by IPv{family}", podman("exec two", asking(OUTSIDE[family], 18081)), "one")
            equal(f"for the container itself by IPv{family}", podman("exec one", asking(OUTSIDE[family], 18081)), "one")
        equal("and at 127.0.0.1", page("127.0.0.1", 18081), "one\n")
        claim("a container reaches the outside", "1 packets received" in podman(f"exec one ping -c 1 -W 3 {BEYOND[4]}"))
        claim("and by IPv6", "1 packets received" in podman(f"exec one ping6 -c 1 -W 3 {BEYOND[6]}"))

        podman("network reload one")
        equal("after `network reload` of a running container its port works", page(OUTSIDE[4], 18081, NEIGHBOUR), "one\n")
        equal("and it has kept its addresses", addresses("one", "dual"), (four, six))
        remove("one")
        equal("a port leads nowhere afterwards", page(OUTSIDE[4], 18081, NEIGHBOUR), "")
        remove("two")
    equal("no address stays reserved", leases("dual"), [])

    with leaving_nothing("after a container with a wanted address the host is as before"):
        wanted = "--network dual:ip=10.93.1.77,ip=fd93:1::77,mac=02:11:22:33:44:55"
        text = podman(f"run --rm --cgroup-parent podman {wanted}", image.BOX, "ip addr show eth0")
        for part in "10.93.1.77/24", "fd93:1::77/64", "02:11:22:33:44:55":
            claim(f"a container gets the wanted {part}", part in text, text)
    with leaving_nothing("a container whose address is taken is refused, and the host is as before"):
        start("holder", "dual:ip=10.93.1.99")
        refused = run(f"podman --tmpdir {WORK}/tmp run --rm --cgroup-parent podman --network dual:ip=10.93.1.99", image.BOX, "true")
        claim("the refusal names the address", refused.returncode != 0 and "10.93.1.99" in refused.stdout, refused.stdout)
        remove("holder")


def connecting():
    """Networks that a running container joins and leaves"""
    podman("network create --subnet 10.93.2.0/24 --disable-dns left")
    podman("network create --subnet 10.93.3.0/24 --disable-dns right")
    for network in "left", "right":
        start(f"first-{network}", network)
        remove(f"first-{network}")
    with leaving_nothing("after joining and leaving the host is as before"):
        start("walker", "left")
        start("right-hand", "right")
        podman("network connect right walker")
        claim("a second network is the interface eth1", "10.93.3." in podman("exec walker ip -o addr show eth1"))
        equal("and reaches who is there", podman("exec walker", asking(addresses("right-hand", "right")[0], 80)), "right-hand")
        podman("network disconnect right walker")
        claim("which is gone after `network disconnect`", "eth1" not in podman("exec walker ip -o link"))
        equal("the first network works on",
              page(addresses("walker", "left")[0], 80), "walker\n")
        remove("walker", "right-hand")
    equal("no address stays reserved", leases("left") + leases("right"), [])


def written_by_hand():
    """A network that an administrator wrote: conf/bandwidth.conflist, with limits"""
    network = conflist("bandwidth")
    (CONFIGURATIONS / "bandwidth.conflist").write_text(json.dumps(network))
    start("first-limited", "bandwidth")
    remove("first-limited")
    with leaving_nothing("after a limited container the host is as before"):
        start("limited", "bandwidth")
        classes = "\n".join(output(f"tc class show dev {link['ifname']}") for link in json.loads(output("ip -j link")))
        claim("what it receives is held to 200 Mbit/s", re.search(r"ceil 200Mbit", classes), classes)
        claim("what it sends is held to 100 Mbit/s, of which 10 are its own", re.search(r"rate 10Mbit ceil 100Mbit", classes), classes)
        podman("exec limited", ["sh", "-c", "head -c 20000000 /dev/zero > /tmp/large"])
        begin = time.monotonic()
        got = run(f"curl -s -m 20 -o /dev/null -w %{{size_download}} http://{addresses('limited', 'bandwidth')[0]}/large").stdout
        rate = int(got) * 8 / (time.monotonic() - begin) / 1e6
        claim(f"20 MB of its page come at the limit's pace ({rate:.0f} Mbit/s)", 60 < rate < 108)
        remove("limited")
    equal("no address stays reserved", leases("bandwidth"), [])


def foreign_link():
    """A chain with somebody else's plugin: dnsname, which answers for containers' names"""
    podman("network create --subnet 10.93.4.0/24 named")
    chain = [plugin["type"] for plugin in json.loads((CONFIGURATIONS / "named.conflist").read_text())["plugins"]]
    equal("podman's chain ends with dnsname", chain[-1], "dnsname")
    start("first-named", "named")
    remove("first-named")
    with leaving_nothing("after two named containers the host is as before"):
        start("speaker", "named")
        start("listener", "named")
        address = addresses("speaker", "named")[0]
        found = run(f"podman --tmpdir {WORK}/tmp exec listener nslookup speaker.dns.podman").stdout
        claim("one finds the other by name", address in found, found)
        remove("listener", "speaker")


def removing():
    """`network rm`, and what remains on the host of all this"""
    for network in json.loads(podman("network ls --format json")):
        if network["name"] in ("dual", "left", "right", "named"):
            bridge = network["network_interface"]
            succeeds(f"network {network['name']} is removed", f"podman --tmpdir {WORK}/tmp network rm {network['name']}")
            claim("with its bridge", run(f"ip link show {bridge}").returncode != 0)
    left = [link["ifname"] for link in json.loads(output("ip -j link")) if link["ifname"].startswith(("veth", "cni-podman"))]
    equal("no veth pair and no bridge of podman's is left", left, [])


if __name__ == "__main__":
    install()
    make_neighbour()
    set_up()
    if not (PACKAGED / "firewall").exists():
        shutil.copy(pathlib.Path(os.environ["PEER"]) / "firewall", PACKAGED)
        print("# there is no firewall plugin here; Debian's Go plugin takes its place in podman's chain")
    print(f"# {output('podman --version')}")
    main(own_network, connecting, written_by_hand, foreign_link, removing)
