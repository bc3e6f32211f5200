"""What the tests under real runtimes share: claims, programs, the host they look at, its neighbour.

They run on a host of their own (own-host), so they may change /etc, /opt, /usr and /var/lib as they like.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import traceback

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Where a Debian package puts plugins, and where the archive for other systems is unpacked.
PACKAGED, UNPACKED = pathlib.Path("/usr/lib/cni"), pathlib.Path("/opt/cni/bin")
CONFIGURATIONS = pathlib.Path("/etc/cni/net.d")
LEASES = pathlib.Path("/var/lib/cni/networks")

passed = failed = 0


def claim(sentence, holds, found=""):
    """Prints whether a claim holds, and what was found if it does not."""
    global passed, failed
    if holds:
        passed += 1
        print(f"ok   {sentence}", flush=True)
    else:
        failed += 1
        found = re.sub(r"\s+", " ", str(found)).strip()
        print(f"not ok   {sentence}" + (f": {found[:2000]}" if found else ""), flush=True)
    return holds


def equal(sentence, found, wanted):
    """Claims that something is found as it is wanted."""
    return claim(sentence, found == wanted, f"wanted {wanted!r}, found {found!r}")


def main(*sections):
    """Runs sections of claims, each whatever the others came to, and ends with the sums."""
    chosen = sys.argv[1:]
    for section in sections:
        if chosen and section.__name__ not in chosen:
            continue
        print(f"# {section.__doc__.splitlines()[0]}", flush=True)
        start = time.monotonic()
        try:
            section()
        except Exception as error:
            # What only a programmer can have done wrong is told with its place.
            if not isinstance(error, Failure):
                traceback.print_exc()
            claim(f"{section.__name__} goes to its end", False, error)
        print(f"# {time.monotonic() - start:.1f} s", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if passed and not failed else 1)


class Failure(Exception):
    """Why a section could not go on."""


def run(*words, namespace=None, given="", environment=None, limit=60):
    """Runs a program to its end, within a limit of seconds; words that are text are split at spaces.

    What it printed and its errors come in `output`, its status in `returncode`.
    """
    arguments = [str(part) for word in words for part in (word.split() if isinstance(word, str) else word)]
    if namespace:
        # Not `ip netns exec`, which would hide the control groups from a runtime.
        arguments = ["nsenter", f"--net=/run/netns/{namespace}", *arguments]
    variables = dict(os.environ, LC_ALL="C", **(environment or {}))
    # Files, not pipes: a daemon that a program leaves behind would hold a pipe open.
    with open_scratch() as output, open_scratch() as text:
        text.write(given)
        text.seek(0)
        try:
            ended = subprocess.run(
                arguments, stdin=text, stdout=output, stderr=subprocess.STDOUT, env=variables, timeout=limit)
            status = ended.returncode
        except subprocess.TimeoutExpired:
            status = 124
        except FileNotFoundError:
            raise Failure(f"{arguments[0]} is not installed") from None
        output.seek(0)
        return subprocess.CompletedProcess(arguments, status, stdout=output.read())


def open_scratch():
    """A file without a name."""
    return os.fdopen(os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o600), "w+", errors="replace")


def output(*words, **options):
    """What a program prints that must succeed."""
    ended = run(*words, **options)
    if ended.returncode:
        raise Failure(f"{' '.join(ended.args)[:300]}: status {ended.returncode}: {ended.stdout.strip()[-800:]}")
    return ended.stdout.strip()


def succeeds(sentence, *words, **options):
    """Claims that a program succeeds, and returns what it printed."""
    ended = run(*words, **options)
    claim(sentence, ended.returncode == 0, ended.stdout[-800:])
    return ended.stdout.strip()


def soon(condition, seconds=5):
    """Whether something comes true within some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# The host and its neighbour.

NEIGHBOUR = "neighbour"
# The host's address on the link that both share, by family, and the neighbour's.
OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
BEYOND = {4: "192.0.2.2", 6: "2001:db8::2"}


def make_neighbour():
    """Another machine at the host's eth0, by which the host reaches everything else."""
    output(f"ip netns add {NEIGHBOUR}")
    output(f"ip link add eth0 type veth peer name eth0 netns {NEIGHBOUR}")
    for family, length in (4, 24), (6, 64):
        output(f"ip addr add {OUTSIDE[family]}/{length} dev eth0", "nodad" if family == 6 else "")
        output(f"ip -n {NEIGHBOUR} addr add {BEYOND[family]}/{length} dev eth0", "nodad" if family == 6 else "")
    output(f"ip -n {NEIGHBOUR} link set lo up")
    output(f"ip -n {NEIGHBOUR} link set eth0 up")
    output("ip link set eth0 up")
    for family in 4, 6:
        output(f"ip -{family} route add default via {BEYOND[family]}")


def page(address, port, namespace=None):
    """What a web server at an address and port says, to the host or to a namespace."""
    host = f"[{address}]" if ":" in address else address
    return run(f"curl -s -g -m 5 http://{host}:{port}/", namespace=namespace).stdout


# To be run in a container: a web server with one page, and its client, which have no program but busybox.
def serving(text, port=80):
    """The command of a container that serves a page in both families."""
    return ["sh", "-c", f"echo {text} > /tmp/index.html; exec httpd -f -p [::]:{port} -h /tmp"]


def asking(address, port):
    """The command that asks a web server for its page; the page is the last line."""
    return ["sh", "-c", rf'printf "GET / HTTP/1.0\r\n\r\n" | nc -w 3 {address} {port} | tail -n 1']


# What could be left.

def snapshot():
    """All that a plugin could leave on the host, a line for each thing."""
    lines = []
    for command in (
        "ip -o link", "ip -o addr", "ip -4 route show table all", "ip -6 route show table all",
        "ip -4 rule", "ip -6 rule", "bridge fdb", "tc qdisc show", "nft -s list ruleset", "ip netns",
    ):
        lines += [f"{command}: {lasting(line)}" for line in output(command).splitlines() if not passing(line)]
    for link in json.loads(output("ip -j link")):
        for kind in "class", "filter":
            lines += [f"tc {kind}: {lasting(line)}" for line in output(f"tc {kind} show dev {link['ifname']}").splitlines()]
    for directory in LEASES, pathlib.Path("/var/lib/cni/results"), pathlib.Path("/run/netns"), pathlib.Path("/var/run/cni"):
        for path in sorted(directory.rglob("*")) if directory.exists() else []:
            # Where the next search begins stays, and so do the lock and the index.
            if not path.is_dir() and not re.match(r"last_reserved_ip|lock$|\.", path.name):
                lines.append(f"file: {path}")
    return sorted(set(lines))


def passing(line):
    """Whether a line is about what the kernel itself adds to a link, or to a program that listens."""
    return bool(re.match(r"33:33:|01:00:5e:|multicast ff00::/8|fe80::/64 ", line)
                # Of an address that is settled, and not of one that is not yet.
                or re.search(r"inet6 fe80::|^(local|anycast) \S*:.* table local", line))


def lasting(line):
    """A line without what changes by itself: indices, link states and timers."""
    line = re.sub(r"^\d+: |@if\d+|link-netns \S+|link-netnsid \d+|state (UP|DOWN|UNKNOWN|LOWERLAYERDOWN)", "", line)
    line = re.sub(r"(NO-CARRIER|LOWER_UP),?|,(NO-CARRIER|LOWER_UP)", "", line)
    line = re.sub(r"\b(tentative|dadfailed|linkdown|permanent)\b|\(id: \d+\)", "", line)
    return re.sub(r"\s+", " ", line).strip()


@contextlib.contextmanager
def leaving_nothing(sentence):
    """Claims that the host is the same afterwards."""
    before = snapshot()
    yield
    # A link may take a moment to go after its namespace.
    soon(lambda: snapshot() == before, 3)
    after = snapshot()
    difference = [f"- {line}" for line in before if line not in after] + [f"+ {line}" for line in after if line not in before]
    claim(sentence, not difference, "; ".join(difference))


def leases(network):
    """The addresses of a network that are reserved."""
    directory = LEASES / network
    return sorted(file.name for file in directory.iterdir() if re.match(r"[0-9a-f]+[.:]", file.name)) \
        if directory.exists() else []


# Networks.

def conflist(name):
    """A network of conf/."""
    return json.loads((REPOSITORY / f"conf/{name}.conflist").read_text())


def configure(*lists, directory=CONFIGURATIONS):
    """Leaves these networks, in this order, and no other, where runtimes look for networks."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    for number, network in enumerate(lists):
        (directory / f"{number:02}-{network['name']}.conflist").write_text(json.dumps(network, indent=2))


class Network:
    """A network whose plugins the test runs itself, as a runtime's library does."""

    def __init__(self, network, plugins):
        self.network, self.plugins, self.results = network, plugins, {}

    def call(self, verb, plugin, container=None, namespace=None, **keys):
        """One plugin's answer; a failure's is raised."""
        configuration = {"cniVersion": self.network["cniVersion"], "name": self.network["name"], **plugin, **keys}
        variables = {"CNI_COMMAND": verb, "CNI_PATH": str(self.plugins)}
        if container:
            variables |= {"CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": namespace or ""}
        answer = output([self.plugins / plugin["type"]], given=json.dumps(configuration), environment=variables)
        return json.loads(answer) if answer else None

    def add(self, container, **runtime):
        """Attaches a container whose namespace has its name."""
        result = {}
        for plugin in self.network["plugins"]:
            keys = self._runtime(plugin, runtime) | ({"prevResult": result} if result else {})
            result = self.call("ADD", plugin, container, f"/run/netns/{container}", **keys)
        self.results[container] = result
        return result

    def delete(self, container, namespace=True, **runtime):
        """Detaches a container, the last plugin first, with or without its namespace."""
        for plugin in reversed(self.network["plugins"]):
            self.call("DEL", plugin, container, f"/run/netns/{container}" if namespace else None,
                      **self._runtime(plugin, runtime), prevResult=self.results[container])

    @staticmethod
    def _runtime(plugin, runtime):
        """What a plugin gets of what the runtime wants: that of which it says it is capable."""
        wanted = {key: value for key, value in runtime.items() if plugin.get("capabilities", {}).get(key)}
        return {"runtimeConfig": wanted} if wanted else {}

    def collect(self, valid):
        """GC: all that belongs to none of the valid attachments goes."""
        attachments = [{"containerID": container, "ifname": interface} for container, interface in valid]
        for plugin in self.network["plugins"]:
            self.call("GC", plugin | {"cniVersion": "1.1.0"}, **{"cni.dev/valid-attachments": attachments})


def install():
    """Installs the package, by dpkg, and unpacks the archive, as an administrator does."""
    output("dpkg --install", [os.environ["PACKAGE"]])
    UNPACKED.mkdir(parents=True, exist_ok=True)
    output(f"tar --extract --gzip --directory {UNPACKED} --file", [os.environ["ARCHIVE"]])
