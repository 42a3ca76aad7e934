// Runs a container to its end with containerd's own client package, over the socket of gantryd or containerd:
//
//	go run . SOCKET IMAGE COMMAND...
//
// The image is pulled when it is not there. The container's output is this program's, its exit status too.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: containerd SOCKET IMAGE COMMAND...")
		os.Exit(2)
	}
	status, err := run(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(int(status))
}

func run(socket, name string, args []string) (status uint32, err error) {
	namespace := cmp.Or(os.Getenv("CONTAINERD_NAMESPACE"), "example")
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	api, err := client.New(socket)
	if err != nil {
		return 0, err
	}
	defer api.Close()
	version, err := api.Version(ctx)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "connected to %s\n", version.Version)

	// What happens to tasks while this program runs, as it happens.
	watching, stop := context.WithCancel(ctx)
	defer stop()
	envelopes, _ := api.Subscribe(watching, "namespace=="+namespace+",topic~=|^/tasks/|")

	image, err := api.GetImage(ctx, name)
	if errdefs.IsNotFound(err) {
		image, err = api.Pull(ctx, name, client.WithPullUnpack)
	}
	if err != nil {
		return 0, err
	}
	id := fmt.Sprintf("example-%d", os.Getpid())
	container, err := api.NewContainer(ctx, id,
		client.WithImage(image),
		client.WithNewSnapshot(id, image),
		client.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs(args...)),
	)
	if err != nil {
		return 0, err
	}
	defer func() {
		if gone := container.Delete(ctx, client.WithSnapshotCleanup); err == nil {
			err = gone
		}
	}()
	task, err := container.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, os.Stdout, os.Stderr)))
	if err != nil {
		return 0, err
	}
	// Asked for before the start, so that no end can be missed.
	ended, err := task.Wait(ctx)
	if err != nil {
		return 0, err
	}
	if err = task.Start(ctx); err != nil {
		_, gone := task.Delete(ctx)
		return 0, errors.Join(err, gone)
	}
	exit := <-ended
	if _, err = task.Delete(ctx); err != nil {
		return 0, err
	}
	var topics []string
	for len(topics) == 0 || topics[len(topics)-1] != "/tasks/delete" {
		topics = append(topics, (<-envelopes).Topic)
	}
	fmt.Fprintf(os.Stderr, "events: %s\n", strings.Join(topics, " "))
	return exit.ExitCode(), exit.Error()
}
