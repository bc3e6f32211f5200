"""A client of the Kubernetes container runtime interface, for what concerns networks."""

import importlib
import pathlib
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import json_format

from support import Failure


def _messages():
    here = pathlib.Path(__file__).parent
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["protoc", "-I", here, "--python_out", directory, "cri.proto"], check=True)
        sys.path.insert(0, directory)
        return importlib.import_module("cri_pb2")


messages = _messages()


class Runtime:
    """A container runtime that listens on a socket."""

    def __init__(self, socket):
        self.socket = socket

    def call(self, method, request, answer=messages.Empty):
        """One call of the runtime service, by a connection of its own: the runtime may have been away."""
        with grpc.insecure_channel(f"unix://{self.socket}") as channel:
            send = channel.unary_unary(
                f"/runtime.v1.RuntimeService/{method}",
                request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer.FromString)
            try:
                return send(request, timeout=60, wait_for_ready=True)
            except grpc.RpcError as error:
                raise Failure(f"{method}: {error.code().name}: {error.details()}") from None

    def version(self):
        """The runtime's name and version."""
        answer = self.call("Version", messages.VersionRequest(), messages.VersionResponse)
        return f"{answer.runtime_name} {answer.runtime_version}"

    def is_network_ready(self):
        """Whether the runtime has found a network."""
        answer = self.call("Status", messages.StatusRequest(), messages.StatusResponse)
        return any(condition.type == "NetworkReady" and condition.status for condition in answer.status.conditions)

    def _sandbox(self, name, **extras):
        sandbox = {"metadata": {"name": name, "uid": f"uid-{name}", "namespace": "test"},
                   "log_directory": "/tmp/pod-logs", "linux": {"cgroup_parent": "/pods"}}
        return json_format.ParseDict(sandbox | extras, messages.PodSandboxConfig())

    def run_pod(self, name, **extras):
        """Starts a pod, which attaches it; `extras` are keys of its configuration."""
        request = messages.RunPodSandboxRequest(config=self._sandbox(name, **extras))
        return self.call("RunPodSandbox", request, messages.RunPodSandboxResponse).pod_sandbox_id

    def start(self, pod, image, command):
        """Starts a container in a pod."""
        config = messages.ContainerConfig(
            metadata=messages.ContainerMetadata(name="main"), image=messages.ImageSpec(image=image), command=command)
        container = self.call(
            "CreateContainer",
            messages.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=self._sandbox(pod)),
            messages.ContainerReference)
        self.call("StartContainer", container)
        return container.container_id

    def execute(self, container, command):
        """What a command prints in a container."""
        request = messages.ExecSyncRequest(container_id=container, cmd=command, timeout=20)
        answer = self.call("ExecSync", request, messages.ExecSyncResponse)
        return (answer.stdout + answer.stderr).decode().strip()

    def addresses(self, pod):
        """The pod's addresses, the first first."""
        network = self.call(
            "PodSandboxStatus", messages.PodSandboxStatusRequest(pod_sandbox_id=pod),
            messages.PodSandboxStatusResponse).status.network
        return [network.ip] + [address.ip for address in network.additional_ips]

    def stop(self, pod):
        """Stops a pod, which detaches it."""
        self.call("StopPodSandbox", messages.PodSandboxReference(pod_sandbox_id=pod))

    def remove(self, pod):
        """Removes a pod, which detaches it again."""
        self.call("RemovePodSandbox", messages.PodSandboxReference(pod_sandbox_id=pod))
