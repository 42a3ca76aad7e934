// Runs a container to its end with nothing but gRPC, over the socket of gantryd or containerd:
//
//	./make_stubs.sh && go run . SOCKET IMAGE COMMAND...
//
// The image must be there and unpacked (`gantry pull`, `ctr images import`). The container's output is this program's, its
// exit status too. The packages below stubs/ come from ../../../proto.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"gantry.example/grpc/stubs/containerd/services/containers/v1"
	"gantry.example/grpc/stubs/containerd/services/content/v1"
	"gantry.example/grpc/stubs/containerd/services/events/v1"
	"gantry.example/grpc/stubs/containerd/services/images/v1"
	"gantry.example/grpc/stubs/containerd/services/leases/v1"
	"gantry.example/grpc/stubs/containerd/services/snapshots/v1"
	"gantry.example/grpc/stubs/containerd/services/tasks/v1"
	"gantry.example/grpc/stubs/containerd/services/version/v1"
	"gantry.example/grpc/stubs/containerd/types"
)

const (
	snapshotter = "overlayfs"
	specURL     = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
)

var namespace = cmp.Or(os.Getenv("CONTAINERD_NAMESPACE"), "example")

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
}

// document reads a JSON document of the content store.
func document(ctx context.Context, store content.ContentClient, digest string, into any) error {
	stream, err := store.Read(ctx, &content.ReadContentRequest{Digest: digest})
	if err != nil {
		return err
	}
	var bytes []byte
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return json.Unmarshal(bytes, into)
		}
		if err != nil {
			return err
		}
		bytes = append(bytes, chunk.Data...)
	}
}

// chainID is the name of the snapshot that all layers of the image make.
func chainID(ctx context.Context, store content.ContentClient, target *types.Descriptor) (string, error) {
	var manifest struct {
		Config    descriptor   `json:"config"`
		Manifests []descriptor `json:"manifests"`
	}
	if err := document(ctx, store, target.Digest, &manifest); err != nil {
		return "", err
	}
	if len(manifest.Manifests) > 0 { // an index
		if err := document(ctx, store, manifest.Manifests[0].Digest, &manifest); err != nil {
			return "", err
		}
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := document(ctx, store, manifest.Config.Digest, &config); err != nil {
		return "", err
	}
	chain := ""
	for _, diffID := range config.RootFS.DiffIDs {
		if chain == "" {
			chain = diffID
		} else {
			chain = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(chain+" "+diffID)))
		}
	}
	return chain, nil
}

// specOf is a runtime spec that is just enough for a command to run alone.
func specOf(id string, args []string) ([]byte, error) {
	type object = map[string]any
	return json.Marshal(object{
		"ociVersion": "1.0.2",
		"root":       object{"path": "rootfs"},
		"process": object{
			"args": args, "cwd": "/", "env": []string{"PATH=/bin:/usr/bin"},
			"user": object{"uid": 0, "gid": 0}, "noNewPrivileges": true,
		},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		},
		"linux": object{
			"cgroupsPath": "/" + namespace + "/" + id,
			"namespaces": []object{
				{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"},
			},
		},
	})
}

// pipe makes a fifo and copies what comes out of it until its last writer has gone.
func pipe(directory, name string, to io.Writer, readers *sync.WaitGroup) (string, error) {
	path := filepath.Join(directory, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return "", err
	}
	readers.Add(1)
	go func() {
		defer readers.Done()
		if from, err := os.Open(path); err == nil { // waits for the writer, which the shim is
			defer from.Close()
			_, _ = io.Copy(to, from)
		}
	}()
	return path, nil
}

// runTask creates, starts and deletes the container's task; it returns its exit status.
func runTask(ctx context.Context, api tasks.TasksClient, id string, rootfs []*types.Mount) (status uint32, err error) {
	directory, err := os.MkdirTemp("", "example-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(directory)
	var readers sync.WaitGroup
	stdout, err := pipe(directory, "stdout", os.Stdout, &readers)
	if err != nil {
		return 0, err
	}
	stderr, err := pipe(directory, "stderr", os.Stderr, &readers)
	if err != nil {
		return 0, err
	}
	request := &tasks.CreateTaskRequest{ContainerId: id, Rootfs: rootfs, Stdout: stdout, Stderr: stderr}
	if _, err := api.Create(ctx, request); err != nil {
		return 0, err
	}
	// One that could not be started has to be deleted as well.
	defer func() {
		_, gone := api.Delete(ctx, &tasks.DeleteTaskRequest{ContainerId: id})
		readers.Wait()
		err = errors.Join(err, gone)
	}()
	// Asked for before the start, so that no end can be missed.
	type end struct {
		reply *tasks.WaitResponse
		err   error
	}
	ended := make(chan end, 1)
	go func() {
		reply, err := api.Wait(ctx, &tasks.WaitRequest{ContainerId: id})
		ended <- end{reply, err}
	}()
	if _, err := api.Start(ctx, &tasks.StartRequest{ContainerId: id}); err != nil {
		return 0, err
	}
	exit := <-ended
	return exit.reply.GetExitStatus(), exit.err
}

func run(socket, name string, args []string) (status uint32, err error) {
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "containerd-namespace", namespace)
	server, err := version.NewVersionClient(connection).Version(ctx, &emptypb.Empty{})
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "connected to %s\n", server.Version)

	watching, stop := context.WithCancel(ctx)
	defer stop()
	filter := "namespace==" + namespace + ",topic~=|^/tasks/|"
	stream, err := events.NewEventsClient(connection).Subscribe(watching, &events.SubscribeRequest{Filters: []string{filter}})
	if err != nil {
		return 0, err
	}
	image, err := images.NewImagesClient(connection).Get(ctx, &images.GetImageRequest{Name: name})
	if err != nil {
		return 0, err
	}
	chain, err := chainID(ctx, content.NewContentClient(connection), image.Image.Target)
	if err != nil {
		return 0, err
	}

	id := fmt.Sprintf("example-%d", os.Getpid())
	spec, err := specOf(id, args)
	if err != nil {
		return 0, err
	}
	// What is made under the lease is safe from garbage collection until the container's record refers to it.
	leasing := leases.NewLeasesClient(connection)
	if _, err = leasing.Create(ctx, &leases.CreateRequest{Id: id}); err != nil {
		return 0, err
	}
	defer func() { _, gone := leasing.Delete(ctx, &leases.DeleteRequest{Id: id}); err = errors.Join(err, gone) }()
	leased := metadata.AppendToOutgoingContext(ctx, "containerd-lease", id)
	trees := snapshots.NewSnapshotsClient(connection)
	prepared, err := trees.Prepare(leased, &snapshots.PrepareSnapshotRequest{Snapshotter: snapshotter, Key: id, Parent: chain})
	if err != nil {
		return 0, err
	}
	defer func() {
		_, gone := trees.Remove(ctx, &snapshots.RemoveSnapshotRequest{Snapshotter: snapshotter, Key: id})
		err = errors.Join(err, gone)
	}()
	records := containers.NewContainersClient(connection)
	_, err = records.Create(leased, &containers.CreateContainerRequest{Container: &containers.Container{
		Id: id, Image: name, Snapshotter: snapshotter, SnapshotKey: id,
		Runtime: &containers.Container_Runtime{Name: "io.containerd.runc.v2"},
		Spec:    &anypb.Any{TypeUrl: specURL, Value: spec},
	}})
	if err != nil {
		return 0, err
	}
	defer func() {
		_, gone := records.Delete(ctx, &containers.DeleteContainerRequest{Id: id})
		err = errors.Join(err, gone)
	}()
	if status, err = runTask(ctx, tasks.NewTasksClient(connection), id, prepared.Mounts); err != nil {
		return 0, err
	}
	var topics []string
	for len(topics) == 0 || topics[len(topics)-1] != "/tasks/delete" {
		envelope, err := stream.Recv()
		if err != nil {
			return 0, err
		}
		topics = append(topics, envelope.Topic)
	}
	fmt.Fprintf(os.Stderr, "events: %s\n", strings.Join(topics, " "))
	return status, nil
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: grpc SOCKET IMAGE COMMAND...")
		os.Exit(2)
	}
	status, err := run(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(int(status))
}
