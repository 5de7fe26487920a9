package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func TestRealDeviceFilesAreFound(t *testing.T) {
	files, err := Resource{Paths: []string{"/dev/n?ll", "/dev/zero", "cdi:example.org/x=y"}}.files()
	if err != nil || strings.Join(files, " ") != "/dev/null /dev/zero cdi:example.org/x=y" {
		t.Errorf("got %v, %v", files, err)
	}
}

func TestWhatIsNoDeviceFileIsNamed(t *testing.T) {
	for pattern, want := range map[string]string{
		"/dev/nothing*": "matches nothing",
		"/dev":          "is a directory",
		"/etc/passwd":   "is a file, no device",
		"/dev/[":        "syntax error",
	} {
		if _, err := (Resource{Paths: []string{pattern}}).files(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", pattern, err)
		}
	}
}

func TestBadResourcesAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		`[{"name": "A B", "paths": ["/dev/null"], "count": 1}]`:             "[0].name",
		`[{"name": "a", "paths": [], "count": 1}]`:                          "[0].paths",
		`[{"name": "a", "paths": ["/dev/null"]}]`:                           "[0].count",
		`[{"name": "a", "path": "/dev/null"}]`:                              "unknown field",
		`[{"name": "a", "paths": ["/dev/null"], "count": 2, "each": true}]`: "one for each path",
		`nonsense`: "invalid character",
	} {
		if _, err := read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

// kubelet takes registrations like the real one.
type kubelet struct {
	v1beta1.UnimplementedRegistrationServer
	seen chan string
}

func (k *kubelet) Register(_ context.Context, request *v1beta1.RegisterRequest) (*v1beta1.Empty, error) {
	k.seen <- request.ResourceName + " " + request.Endpoint
	return &v1beta1.Empty{}, nil
}

func startKubelet(t *testing.T, folder string) (*kubelet, *grpc.Server) {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(folder, "kubelet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	return serveKubelet(t, listener)
}

func serveKubelet(t *testing.T, listener net.Listener) (*kubelet, *grpc.Server) {
	t.Helper()
	one := &kubelet{seen: make(chan string, 4)}
	server := grpc.NewServer()
	v1beta1.RegisterRegistrationServer(server, one)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return one, server
}

func await[T any](t *testing.T, seen <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-seen:
	case <-time.After(5 * time.Second):
		t.Fatal("nothing came")
	}
	return got
}

func TestThePluginRegistersListsAndAllocates(t *testing.T) {
	folder := t.TempDir()
	registrar, _ := startKubelet(t, folder)
	one := newPlugin(Resource{Name: "null", Paths: []string{"/dev/null", "cdi:example.org/x=y"}, Count: 2}, folder)
	if err := one.ensure(); err != nil {
		t.Fatal(err)
	}
	defer one.stop()
	if got := await(t, registrar.seen); got != "usernetes.dev/null usernetes-null.sock" {
		t.Errorf("got %s", got)
	}
	connection, err := grpc.NewClient("unix://"+filepath.Join(folder, "usernetes-null.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	client := v1beta1.NewDevicePluginClient(connection)
	stream, err := client.ListAndWatch(t.Context(), &v1beta1.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := stream.Recv(); err != nil || len(list.Devices) != 2 || list.Devices[0].Health != v1beta1.Healthy {
		t.Errorf("got %v, %v", list, err)
	}
	answer, err := client.Allocate(t.Context(), &v1beta1.AllocateRequest{
		ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: []string{"null-0"}}}})
	if err != nil {
		t.Fatal(err)
	}
	got := answer.ContainerResponses[0]
	if got.Devices[0].HostPath != "/dev/null" || got.CdiDevices[0].Name != "example.org/x=y" {
		t.Errorf("got %v", got)
	}
}

func TestAPodGetsThoseOfSingleDevicesThatItWasPromised(t *testing.T) {
	one := newPlugin(Resource{Name: "card", Paths: []string{"/dev/null", "/dev/zero", "/dev/full"}, Count: 3, Each: true}, t.TempDir())
	answer, err := one.Allocate(t.Context(), &v1beta1.AllocateRequest{ContainerRequests: []*v1beta1.ContainerAllocateRequest{
		{DevicesIds: []string{"card-2", "card-0"}}, {DevicesIds: []string{"card-1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, response := range answer.ContainerResponses {
		for _, device := range response.Devices {
			got = append(got, device.HostPath)
		}
	}
	if strings.Join(got, " ") != "/dev/null /dev/full /dev/zero" {
		t.Errorf("got %v", got)
	}
}

func TestFilesThatVanishAreReported(t *testing.T) {
	folder := t.TempDir()
	startKubelet(t, folder)
	link := filepath.Join(folder, "device")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	one := newPlugin(Resource{Name: "a", Paths: []string{link}, Count: 1}, folder)
	if err := one.ensure(); err != nil {
		t.Fatal(err)
	}
	defer one.stop()
	_, changed := one.state()
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := one.ensure(); err == nil || !strings.Contains(err.Error(), "matches nothing") {
		t.Errorf("got %v", err)
	}
	<-changed
	if devices, _ := one.state(); devices[0].Health != v1beta1.Unhealthy {
		t.Errorf("got %v", devices)
	}
}

func TestAKubeletThatStartsAnewIsNoticed(t *testing.T) {
	folder := t.TempDir()
	starts, err := kubeletStarts(folder)
	if err != nil {
		t.Fatal(err)
	}
	startKubelet(t, folder)
	await(t, starts)
}

func TestTheFolderThatIsWatchedIsThere(t *testing.T) {
	folder := t.TempDir()
	for pattern, want := range map[string]string{
		folder + "/device":     folder,
		folder + "/dev*":       folder,
		folder + "/later/d[0]": folder,
		"cdi:example.org/x=y":  "",
	} {
		if got := existingFolder(pattern); got != want {
			t.Errorf("%s: got %s", pattern, got)
		}
	}
}

func TestFilesThatComeAndGoAreNoticedAtOnceAlsoInAFolderThatCameLater(t *testing.T) {
	folder := t.TempDir()
	changes, again, err := fileChanges([]Resource{{Paths: []string{folder + "/later/device"}}})
	if err != nil {
		t.Fatal(err)
	}
	again()
	for _, step := range []func() error{
		func() error { return os.Mkdir(folder+"/later", 0o700) },
		func() error { return os.Symlink("/dev/null", folder+"/later/device") },
		func() error { return os.Remove(folder + "/later/device") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		await(t, changes)
		again()
	}
}

func TestAKubeletThatDoesNotListenYetIsAskedAgainSoon(t *testing.T) {
	folder := t.TempDir()
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- run([]string{"--kubelet", folder}, strings.NewReader(`[{"name": "one", "paths": ["/dev/null"], "count": 1}]`))
	}()
	time.Sleep(200 * time.Millisecond)
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: filepath.Join(folder, kubeletSocket)}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // it is seen, and refuses
	if err := unix.Listen(socket, 8); err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(os.NewFile(uintptr(socket), kubeletSocket))
	if err != nil {
		t.Fatal(err)
	}
	one, _ := serveKubelet(t, listener)
	if got := await(t, one.seen); got != "usernetes.dev/one usernetes-one.sock" {
		t.Errorf("got %s", got)
	}
	_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}
