#!/usr/bin/env python3
"""Runs a container to its end over the socket of gantryd or containerd.

    make_stubs.sh stubs && PYTHONPATH=stubs run.py SOCKET IMAGE COMMAND...

The image must be there and unpacked (`gantry pull`, `ctr images import`). The container's output is this program's, its
exit status too. Needs grpcio and protobuf (Debian: python3-grpcio, python3-protobuf); the stubs come from ../../proto.
"""

import hashlib
import json
import os
import sys
import tempfile
import threading
import uuid

import grpc
from containerd.services.containers.v1 import containers_pb2, containers_pb2_grpc
from containerd.services.content.v1 import content_pb2, content_pb2_grpc
from containerd.services.events.v1 import events_pb2, events_pb2_grpc
from containerd.services.images.v1 import images_pb2, images_pb2_grpc
from containerd.services.leases.v1 import leases_pb2, leases_pb2_grpc
from containerd.services.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from containerd.services.tasks.v1 import tasks_pb2, tasks_pb2_grpc
from containerd.services.version.v1 import version_pb2_grpc
from google.protobuf import any_pb2, empty_pb2

NAMESPACE = os.environ.get("CONTAINERD_NAMESPACE", "example")
SNAPSHOTTER = "overlayfs"
RUNTIME = "io.containerd.runc.v2"
SPEC_URL = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
# What a call carries beside its request: whose containers are meant.
METADATA = (("containerd-namespace", NAMESPACE),)


class Client:
    """The services of one connection."""

    def __init__(self, socket):
        self.channel = grpc.insecure_channel(f"unix:{socket}")
        self.version = version_pb2_grpc.VersionStub(self.channel)
        self.images = images_pb2_grpc.ImagesStub(self.channel)
        self.content = content_pb2_grpc.ContentStub(self.channel)
        self.snapshots = snapshots_pb2_grpc.SnapshotsStub(self.channel)
        self.containers = containers_pb2_grpc.ContainersStub(self.channel)
        self.tasks = tasks_pb2_grpc.TasksStub(self.channel)
        self.events = events_pb2_grpc.EventsStub(self.channel)
        self.leases = leases_pb2_grpc.LeasesStub(self.channel)

    def document(self, digest):
        """A JSON document of the content store."""
        request = content_pb2.ReadContentRequest(digest=digest)
        chunks = self.content.Read(request, metadata=METADATA, timeout=30)
        return json.loads(b"".join(chunk.data for chunk in chunks))

    def chain_id(self, image):
        """The name of the snapshot that all layers of the image make; and the image's own configuration."""
        target = image.target
        manifest = self.document(target.digest)
        if target.media_type in INDEX_TYPES:
            manifest = self.document(manifest["manifests"][0]["digest"])
        config = self.document(manifest["config"]["digest"])
        first, *rest = config["rootfs"]["diff_ids"]
        chain = first
        for diff_id in rest:
            chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
        return chain, config.get("config", {})


def spec_of(container_id, args, config):
    """A runtime spec that is just enough for a command to run alone."""
    namespaces = ["pid", "ipc", "uts", "mount", "network"]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {
            "args": args,
            "cwd": config.get("WorkingDir") or "/",
            "env": config.get("Env") or ["PATH=/bin:/usr/bin"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": {
            "namespaces": [{"type": name} for name in namespaces],
            "cgroupsPath": f"/{NAMESPACE}/{container_id}",
        },
    }


def copy(source, target):
    """Copies one pipe until its last writer has gone."""
    while chunk := os.read(source, 65536):
        target.write(chunk)
        target.flush()
    os.close(source)


def run_task(client, container_id, mounts):
    """Creates, starts and deletes the container's task; returns its exit status."""
    with tempfile.TemporaryDirectory(prefix="example-") as directory:
        paths = {name: os.path.join(directory, name) for name in ("stdout", "stderr")}
        readers = []
        for name, path in paths.items():
            os.mkfifo(path, 0o600)
            # Without waiting for a writer, which is there when the task has been created.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            readers.append((descriptor, getattr(sys, name).buffer))
        client.tasks.Create(
            tasks_pb2.CreateTaskRequest(container_id=container_id, rootfs=mounts, **paths), metadata=METADATA, timeout=60
        )
        threads = [threading.Thread(target=copy, args=reader) for reader in readers]
        for (descriptor, _), thread in zip(readers, threads):
            os.set_blocking(descriptor, True)
            thread.start()
        try:
            # Asked for before the start, so that no end can be missed.
            ended = client.tasks.Wait.future(tasks_pb2.WaitRequest(container_id=container_id), metadata=METADATA)
            client.tasks.Start(tasks_pb2.StartRequest(container_id=container_id), metadata=METADATA, timeout=60)
            return ended.result().exit_status
        finally:
            # One that could not be started has to be deleted as well.
            gone = tasks_pb2.DeleteTaskRequest(container_id=container_id)
            client.tasks.Delete(gone, metadata=METADATA, timeout=60)
            for thread in threads:
                thread.join()


def watch(client, topics):
    """Notes what happens to tasks until this program ends the stream."""
    stream = client.events.Subscribe(
        events_pb2.SubscribeRequest(filters=[f"namespace=={NAMESPACE},topic~=|^/tasks/|"]), metadata=METADATA
    )

    def read():
        try:
            for envelope in stream:
                topics.append(envelope.topic)
                if envelope.topic == "/tasks/delete":
                    return
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                raise

    thread = threading.Thread(target=read)
    thread.start()
    return stream, thread


def main():
    _, socket, name, *args = sys.argv
    client = Client(socket)
    version = client.version.Version(empty_pb2.Empty(), timeout=30)
    print(f"connected to {version.version}", file=sys.stderr)
    image = client.images.Get(images_pb2.GetImageRequest(name=name), metadata=METADATA, timeout=30).image
    chain, config = client.chain_id(image)

    container_id = f"example-{uuid.uuid4().hex[:12]}"
    spec = json.dumps(spec_of(container_id, args, config)).encode()
    topics = []
    stream, watcher = watch(client, topics)
    # What is made under the lease is safe from garbage collection until the container's record refers to it.
    lease = client.leases.Create(leases_pb2.CreateRequest(id=container_id), metadata=METADATA, timeout=30).lease
    leased = (*METADATA, ("containerd-lease", lease.id))
    try:
        mounts = client.snapshots.Prepare(
            snapshots_pb2.PrepareSnapshotRequest(snapshotter=SNAPSHOTTER, key=container_id, parent=chain),
            metadata=leased,
            timeout=30,
        ).mounts
        record = containers_pb2.Container(
            id=container_id,
            image=name,
            runtime=containers_pb2.Container.Runtime(name=RUNTIME),
            spec=any_pb2.Any(type_url=SPEC_URL, value=spec),
            snapshotter=SNAPSHOTTER,
            snapshot_key=container_id,
        )
        client.containers.Create(
            containers_pb2.CreateContainerRequest(container=record), metadata=leased, timeout=30
        )
        status = run_task(client, container_id, mounts)
        watcher.join(timeout=30)
        print("events: " + " ".join(topics), file=sys.stderr)
        return status
    finally:
        stream.cancel()
        gone = containers_pb2.DeleteContainerRequest(id=container_id)
        client.containers.Delete(gone, metadata=METADATA, timeout=30)
        gone = snapshots_pb2.RemoveSnapshotRequest(snapshotter=SNAPSHOTTER, key=container_id)
        client.snapshots.Remove(gone, metadata=METADATA, timeout=30)
        client.leases.Delete(leases_pb2.DeleteRequest(id=lease.id), metadata=METADATA, timeout=30)


if __name__ == "__main__":
    sys.exit(main())
