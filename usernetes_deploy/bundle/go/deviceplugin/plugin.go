package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// plugin serves one resource to the kubelet.
type plugin struct {
	v1beta1.UnimplementedDevicePluginServer
	resource Resource
	folder   string

	mutex   sync.Mutex
	server  *grpc.Server // nil: not registered
	healthy bool
	changed chan struct{} // closed when healthy changes or the server stops
}

func newPlugin(resource Resource, folder string) *plugin {
	return &plugin{resource: resource, folder: folder, changed: make(chan struct{})}
}

func (p *plugin) socket() string { return "usernetes-" + p.resource.Name + ".sock" }

// ensure looks at the files, tells the kubelet when they came or went, and registers when that has not been done.
func (p *plugin) ensure() error {
	_, problem := p.resource.files()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if healthy := problem == nil; healthy != p.healthy {
		p.healthy = healthy
		p.signal()
	}
	if p.server != nil {
		return problem
	}
	if err := p.serve(); err != nil {
		return err
	}
	return problem
}

func (p *plugin) registered() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.server != nil
}

func (p *plugin) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *plugin) serve() error {
	path := filepath.Join(p.folder, p.socket())
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("serve the kubelet: %w", err)
	}
	server := grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(server, p)
	go func() { _ = server.Serve(listener) }()
	if err := p.register(); err != nil {
		server.Stop()
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	p.server = server
	return nil
}

func (p *plugin) register() error {
	connection, err := grpc.NewClient("unix://"+filepath.Join(p.folder, kubeletSocket),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = v1beta1.NewRegistrationClient(connection).Register(limited, &v1beta1.RegisterRequest{
		Version: v1beta1.Version, Endpoint: p.socket(), ResourceName: domain + p.resource.Name,
	})
	return err
}

// stop makes the next ensure register again.
func (p *plugin) stop() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.server != nil {
		p.server.Stop()
		p.server = nil
		p.signal()
	}
}

func (p *plugin) id(number int) string { return fmt.Sprintf("%s-%d", p.resource.Name, number) }

func (p *plugin) state() (devices []*v1beta1.Device, changed <-chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	health := v1beta1.Unhealthy
	if p.healthy {
		health = v1beta1.Healthy
	}
	for number := range p.resource.Count {
		devices = append(devices, &v1beta1.Device{ID: p.id(number), Health: health})
	}
	return devices, p.changed
}

// GetDevicePluginOptions says that nothing beyond Allocate is needed.
func (p *plugin) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return &v1beta1.DevicePluginOptions{}, nil
}

// ListAndWatch tells the kubelet how many there are, and again when they come or go.
func (p *plugin) ListAndWatch(_ *v1beta1.Empty, stream grpc.ServerStreamingServer[v1beta1.ListAndWatchResponse]) error {
	for {
		devices, changed := p.state()
		if err := stream.Send(&v1beta1.ListAndWatchResponse{Devices: devices}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		}
	}
}

// Allocate hands out all files of the resource to each container that was promised one, or those of its devices.
func (p *plugin) Allocate(_ context.Context, request *v1beta1.AllocateRequest) (*v1beta1.AllocateResponse, error) {
	files, err := p.resource.files()
	if err != nil {
		return nil, err
	}
	answer := &v1beta1.AllocateResponse{}
	for _, asked := range request.ContainerRequests {
		one := &v1beta1.ContainerAllocateResponse{}
		for number, file := range files {
			if p.resource.Each && !slices.Contains(asked.GetDevicesIds(), p.id(number)) {
				continue
			}
			if name, isCDI := strings.CutPrefix(file, "cdi:"); isCDI {
				one.CdiDevices = append(one.CdiDevices, &v1beta1.CDIDevice{Name: name})
			} else {
				one.Devices = append(one.Devices, &v1beta1.DeviceSpec{ContainerPath: file, HostPath: file, Permissions: "rw"})
			}
		}
		answer.ContainerResponses = append(answer.ContainerResponses, one)
	}
	return answer, nil
}
