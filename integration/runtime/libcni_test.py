"""libcni itself: its cache, its versions, its capabilities, and DEL and CHECK as it calls them."""

import contextlib
import json
import os
import pathlib
import re

from support import (NEIGHBOUR, OUTSIDE, PACKAGED, Network, claim, conflist, equal, install, leases, leaving_nothing, main,
                     make_neighbour, output, page, run, succeeds)

CACHE = pathlib.Path("/var/lib/cni/results")
NAMES = "pods", "dual-stack", "ptp", "tuned", "static-address", "bandwidth", "masquerade"
VERSIONS = "0.3.1", "0.4.0", "1.0.0"


def written(network, **keys):
    """The path of a network's file, with other keys at the top."""
    path = pathlib.Path(f"/tmp/{network['name']}.conflist")
    path.write_text(json.dumps(network | keys))
    return path


def library(verb, path, container="c1", namespace=True, capabilities=None, arguments=""):
    """What libcni returns."""
    return run([os.environ["LIBCNI_DRIVER"], verb, path, container, f"/run/netns/{container}" if namespace else "",
                json.dumps(capabilities) if capabilities else "", arguments], environment={"CNI_PATH": str(PACKAGED)})


def answers(sentence, verb, path, **options):
    """Claims that a call succeeds, and returns its result."""
    ended = library(verb, path, **options)
    claim(sentence, ended.returncode == 0, ended.stdout)
    return json.loads(ended.stdout) if ended.stdout.strip() and ended.returncode == 0 else None


def refuses(sentence, verb, path, words, **options):
    """Claims that a call fails and says why."""
    ended = library(verb, path, **options)
    claim(sentence, ended.returncode == 1 and words in ended.stdout, f"status {ended.returncode}: {ended.stdout}")


@contextlib.contextmanager
def namespace(name="c1"):
    """A container's network namespace."""
    output(f"ip netns add {name}")
    try:
        yield
    finally:
        run(f"ip netns del {name}")


def warm_up(network):
    """Makes what a network's containers share, which stays for the next."""
    path = written(network)
    with namespace():
        library("add", path)
        library("del", path)


def verbs():
    """ADD, CHECK and DEL of networks of conf/ in every version that libcni knows"""
    for name in NAMES:
        network = conflist(name)
        warm_up(network)
        with leaving_nothing(f"{name}: afterwards the host is as before"):
            for version in VERSIONS:
                path = written(network, cniVersion=version)
                with namespace():
                    result = answers(f"{name} at {version}: ADD", "add", path)
                    equal(f"{name} at {version}: the result is of that version", (result or {}).get("cniVersion"), version)
                    cached = library("cached", path).stdout
                    equal(f"{name} at {version}: the library has kept it", json.loads(cached), result)
                    if version != "0.3.1":
                        answers(f"{name} at {version}: CHECK", "check", path)
                    answers(f"{name} at {version}: DEL", "del", path)
                    equal(f"{name} at {version}: nothing is in the cache", list(CACHE.iterdir()), [])
        equal(f"{name}: no address stays reserved", leases(name), [])


def checks():
    """CHECK through the library when something was changed"""
    path = written(conflist("pods"))
    with namespace(), leaving_nothing("afterwards the host is as before"):
        address = library("add", path).stdout
        address = json.loads(address)["ips"][0]["address"]
        answers("CHECK finds all as it should be", "check", path)
        output(f"ip -n c1 addr del {address} dev eth0")
        refuses("CHECK names the address that somebody took away", "check", path, f"address {address} on eth0")
        answers("which a list with disableCheck does not mind", "check", written(conflist("pods"), disableCheck=True))
        refuses("CHECK is not of version 0.3.1", "check", written(conflist("pods"), cniVersion="0.3.1"), "CHECK")
        path = written(conflist("pods"))
        refuses("a second ADD is refused", "add", path, "duplicate allocation")
        answers("DEL", "del", path)
        answers("DEL again", "del", path)
        answers("DEL of a container that never was", "del", path, container="stranger")


def without():
    """DEL with something gone: the namespace, the cache, both"""
    path = written(conflist("pods"))
    ports = {"portMappings": [{"hostPort": 18070, "containerPort": 80, "protocol": "tcp"}],
             "bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000, "egressRate": 8000000, "egressBurst": 800000}}
    with namespace():
        library("add", path, capabilities=ports)
        library("del", path, capabilities=ports)
    for what in "the namespace", "the cache", "both":
        with leaving_nothing(f"DEL without {what} leaves nothing"):
            with namespace():
                answers("ADD", "add", path, capabilities=ports)
                if what != "the cache":
                    output("ip netns del c1")
                if what != "the namespace":
                    for file in CACHE.iterdir():
                        file.unlink()
                answers(f"DEL without {what}", "del", path, namespace=what == "the cache", capabilities=ports)
    with leaving_nothing("a note of the library's that was cut short: it refuses, and GC leaves nothing"), namespace():
        answers("ADD", "add", path, capabilities=ports)
        note = next(CACHE.iterdir())
        note.write_bytes(note.read_bytes()[:100])
        refuses("the library reads no half note", "del", path, "cached")
        note.unlink()
        Network(conflist("pods"), PACKAGED).collect([])
    equal("no address stays reserved", leases("pods"), [])


def versions():
    """A list whose version changes while a container runs, and versions nobody knows"""
    network = conflist("pods")
    for before, after in ("0.4.0", "1.0.0"), ("1.0.0", "0.4.0"), ("0.3.1", "1.0.0"), ("1.0.0", "0.3.1"):
        with namespace(), leaving_nothing(f"added at {before} and deleted at {after}: nothing is left"):
            answers(f"ADD at {before}", "add", written(network, cniVersion=before))
            answers(f"DEL at {after}", "del", written(network, cniVersion=after))
    for version in VERSIONS:
        answers(f"the library validates a list of version {version}", "validate", written(network, cniVersion=version))
    refuses("it does not validate one of version 9.0.0", "validate", written(network, cniVersion="9.0.0"), "9.0.0")
    with namespace(), leaving_nothing("and an ADD of it leaves nothing"):
        refuses("a plugin refuses to ADD it", "add", written(network, cniVersion="9.0.0"), "incompatible CNI versions")
    missing = network | {"plugins": network["plugins"] + [{"type": "no-such-plugin"}]}
    with namespace(), leaving_nothing("and after its DEL nothing is left"):
        refuses("a chain that ends with a missing plugin fails", "add", written(missing), "no-such-plugin")
        answers("and its containers are removed by the chain without it", "del", written(network))


def capabilities():
    """What a runtime passes on: ports, limits, addresses, CNI_ARGS"""
    network = conflist("pods")
    path = written(network)
    given = {"portMappings": [{"HostPort": 18071, "ContainerPort": 81, "Protocol": "tcp", "HostIP": ""}],
             "bandwidth": {"IngressRate": 8000000, "IngressBurst": 4294967295}}
    with namespace(), leaving_nothing("afterwards the host is as before"):
        answers("ADD with keys spelled as containerd spells them", "add", path, capabilities=given)
        rules = output("nft list table inet cni_portmap")
        claim("the port is mapped", "tcp . 18071" in rules, rules)
        classes = "".join(output(f"tc class show dev {link['ifname']}") for link in json.loads(output("ip -j link")))
        claim("the limit is set", "8Mbit" in classes, classes)
        answers("CHECK with them", "check", path, capabilities=given)
        answers("DEL with them", "del", path, capabilities=given)
    path = written(conflist("static-address"))
    with namespace(), leaving_nothing("after wanted addresses the host is as before"):
        result = answers("ADD with wanted addresses and a hardware address", "add", path,
                         capabilities={"ips": ["10.85.0.77/24"], "mac": "02:11:22:33:44:55"})
        equal("it has them", ([ip["address"] for ip in result["ips"]], result["interfaces"][-1]["mac"]),
              (["10.85.0.77/24"], "02:11:22:33:44:55"))
        answers("DEL", "del", path)
    path = written(network)
    with namespace(), leaving_nothing("after arguments the host is as before"):
        arguments = "K8S_POD_NAME=web;IgnoreUnknown=1;IP=10.99.0.66;K8S_POD_NAMESPACE=test"
        result = answers("ADD with CNI_ARGS as the kubelet gives them", "add", path, arguments=arguments)
        claim("it has the address that they want", "10.99.0.66/24" in [ip["address"] for ip in result["ips"]], result)
        answers("DEL", "del", path, arguments=arguments)


def collecting():
    """GC with valid attachments, beside containers of the library"""
    network = conflist("pods")
    path = written(network)
    valid = [("c1", "eth0"), ("c3", "eth0")]
    containers = [f"c{number}" for number in range(1, 6)]
    given = {"portMappings": [], "bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000,
                                               "egressRate": 8000000, "egressBurst": 800000}}
    with leaving_nothing("after GC and DEL the host is as before"):
        for number, container in enumerate(containers):
            output(f"ip netns add {container}")
            given["portMappings"] = [{"hostPort": 18060 + number, "containerPort": 80, "protocol": "tcp"}]
            answers(f"ADD of {container}", "add", path, container=container, capabilities=given)
        Network(network, PACKAGED).collect(valid)
        owners = {pathlib.Path(f"/var/lib/cni/networks/pods/{address}").read_text().split()[0] for address in leases("pods")}
        equal("host-local keeps the valid ones' addresses", sorted(owners), ["c1", "c3"])
        aliases = [link.get("ifalias") for link in json.loads(output("ip -j link show type veth"))]
        equal("bridge keeps the valid ones' links", sorted(filter(None, aliases)), ["pods c1 eth0", "pods c3 eth0"])
        ports = re.findall(r"tcp \. (\d+) comment", output("nft list map inet cni_portmap any4"))
        equal("portmap keeps the valid ones' ports", sorted(ports), ["18060", "18062"])
        shaped = re.findall(r"comment \"pods (c\d)", output("nft list map netdev shaper egress_class"))
        equal("bandwidth keeps the valid ones' classes", sorted(shaped), ["c1", "c3"])
        for container, _ in valid:
            answers(f"CHECK of {container} finds all as it should be", "check", path, container=container, capabilities={
                **given, "portMappings": [{"hostPort": 18059 + int(container[1]), "containerPort": 80, "protocol": "tcp"}]})
        for container in containers:
            answers(f"DEL of {container}", "del", path, container=container, capabilities=given)
            output(f"ip netns del {container}")
    equal("no address stays reserved", leases("pods"), [])


if __name__ == "__main__":
    install()
    make_neighbour()
    print(f"# libcni {output('dpkg-query -W -f ${Version} golang-github-appc-cni-dev')}, {output('go version')}")
    main(verbs, checks, without, versions, capabilities, collecting)
