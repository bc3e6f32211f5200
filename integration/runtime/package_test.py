"""The Debian package and the archive, as dpkg, lintian and sha256sum see them."""

import os
import pathlib

from support import CONFIGURATIONS, PACKAGED, UNPACKED, claim, equal, install, main, output, run, succeeds

PACKAGE, ARCHIVE = os.environ["PACKAGE"], os.environ["ARCHIVE"]


def package():
    """The Debian package"""
    print(output("dpkg-deb --show", [PACKAGE]))
    found = run("lintian --allow-root --fail-on error,warning", [PACKAGE])
    claim("lintian finds no error and warns of nothing", found.returncode == 0, found.stdout)
    before = set(output("find /usr /etc -xdev").splitlines())
    # It may be there, as podman wants some network stack and takes the one it finds first.
    replaced = set(run("dpkg-query --listfiles containernetworking-plugins").stdout.splitlines())
    replaced |= {"/usr" + path for path in replaced}
    install()
    succeeds("dpkg finds its files as they were packed", "dpkg --verify swift-cni")
    claim("it takes the place of containernetworking-plugins",
          "swift-cni" in output("dpkg-query -W -f ${Package}:${Provides}:${Conflicts}\\n swift-cni")
          and "containernetworking-plugins" in output("dpkg-query -W -f ${Provides} swift-cni"))
    refused = run("apt-get install --simulate --no-install-recommends containernetworking-plugins")
    claim("apt removes it rather than have both", "Remv swift-cni" in refused.stdout, refused.stdout)
    programs = sorted(path for path in PACKAGED.iterdir() if path.name != "dnsname")
    equal("every plugin is the one program", len({path.stat().st_ino for path in programs}), 1)
    for path in programs:
        answer = run([path], environment={"CNI_COMMAND": "VERSION"})
        claim(f"{path} says its versions", path.name == "swift-cni" or '"1.1.0"' in answer.stdout, answer.stdout)
    claim("cnictl answers for itself", "USAGE" in run("cnictl --help").stdout)
    examples = pathlib.Path("/usr/share/doc/swift-cni/examples")
    claim("it brings example networks", len(list(examples.glob("*.conflist"))) > 10)
    output("dpkg --purge --force-depends swift-cni")
    after = set(output("find /usr /etc -xdev").splitlines())
    equal("purged, it leaves nothing", sorted(after - before), [])
    equal("and takes nothing of others but of what it replaced",
          sorted(path for path in before - after - replaced if path.startswith(("/usr", "/etc"))), [])


def archive():
    """The archive for /opt/cni/bin"""
    print(pathlib.Path(ARCHIVE).name)
    directory = pathlib.Path(ARCHIVE).parent
    for sum in "sha256", "sha512":
        succeeds(f"{sum}sum agrees", f"sh -c", [f"cd {directory} && {sum}sum --check {pathlib.Path(ARCHIVE).name}.{sum}"])
    answer = run([UNPACKED / "bridge"], environment={"CNI_COMMAND": "VERSION"})
    claim("unpacked, a plugin says its versions", '"1.1.0"' in answer.stdout, answer.stdout)
    equal("its files belong to root", {path.stat().st_uid for path in UNPACKED.iterdir()}, {0})


main(package, archive)
