"""Container images made of nothing but busybox, since a test has no registry to ask."""

import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

BOX = "localhost/box:1"
PAUSE = "localhost/pause:1"


def archive(tag, **configuration):
    """The bytes of an archive as `docker save` writes it, of one image with one layer."""
    busybox = pathlib.Path("/bin/busybox")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for directory in "bin", "etc", "proc", "sys", "dev", "tmp", "root":
            _put(tar, directory, kind=tarfile.DIRTYPE, mode=0o755)
        _put(tar, "bin/busybox", busybox.read_bytes(), mode=0o755)
        for applet in subprocess.check_output([busybox, "--list"], text=True).split():
            if applet != "busybox":
                _put(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")
        _put(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        _put(tar, "etc/group", b"root:x:0:\n")
    layer = layer.getvalue()
    digest = hashlib.sha256(layer).hexdigest()
    image = json.dumps({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "WorkingDir": "/", **configuration},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    }).encode()
    name = f"{hashlib.sha256(image).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}/layer.tar"]}]
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        _put(tar, "manifest.json", json.dumps(manifest).encode())
        _put(tar, name, image)
        _put(tar, f"{digest}/layer.tar", layer)
    return whole.getvalue()


def _put(tar, name, content=b"", kind=tarfile.REGTYPE, mode=0o644, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, target, len(content)
    tar.addfile(entry, io.BytesIO(content))


def box():
    """An image with a shell and everything else that busybox has."""
    return archive(BOX, Cmd=["/bin/sh"])


def pause():
    """An image that waits, for what holds a pod's namespaces."""
    return archive(PAUSE, Entrypoint=["/bin/sleep", "1000000"])
