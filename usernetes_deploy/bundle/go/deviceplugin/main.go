// Command deviceplugin offers device files of the host to pods as schedulable resources, through the kubelet's device-plugin
// interface.
//
//	usernetes-devices [--kubelet /var/lib/kubelet/device-plugins] < resources.json
//
// The resources come on standard input:
//
//	[{"name": "infiniband", "paths": ["/dev/infiniband/*"], "count": 4},
//	 {"name": "gpu", "paths": ["cdi:nvidia.com/gpu=all"], "count": 1},
//	 {"name": "card", "paths": ["/dev/card0", "/dev/card1"], "count": 2, "each": true}]
//
// A pod that asks for "usernetes.dev/infiniband: 1" gets all files that match, with the rights that the user has on them;
// count says how many pods may hold them at once. With each, every file is a device that one pod holds alone, so that a pod
// may ask for several. A path "cdi:KIND=NAME" is a device that a vendor's file in /etc/cdi or
// /var/run/cdi describes; containerd resolves it.
//
// It registers again whenever the kubelet starts anew, and tells it when files come or go: the kernel says so, and it looks
// for itself once a minute, because a watch sees no more than one folder.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	domain = "usernetes.dev/"
	period = time.Minute
	settle = 100 * time.Millisecond // a driver makes several files at once
	again  = 500 * time.Millisecond // until a kubelet answers whose socket is there: it makes it before it listens
)

// Resource is a set of device files that pods ask for by one name.
type Resource struct {
	Name  string   `json:"name"`
	Paths []string `json:"paths"`
	Count int      `json:"count"`
	Each  bool     `json:"each"` // every path is a device of its own
}

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$`)

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "usernetes-devices: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader) error {
	flags := flag.NewFlagSet("usernetes-devices", flag.ContinueOnError)
	folder := flags.String("kubelet", "/var/lib/kubelet/device-plugins", "the kubelet's folder for device plugins")
	if err := flags.Parse(args); err != nil {
		return err
	}
	resources, err := read(stdin)
	if err != nil {
		return fmt.Errorf("read the resources: %w", err)
	}
	restarted, err := kubeletStarts(*folder)
	if err != nil {
		return err
	}
	changed, watchAgain, err := fileChanges(resources)
	if err != nil {
		return err
	}
	var plugins []*plugin
	for _, resource := range resources {
		one := newPlugin(resource, *folder)
		plugins = append(plugins, one)
		if files, err := one.resource.files(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", resource.Name, err)
		} else {
			fmt.Printf("%s%s: %s\n", domain, resource.Name, strings.Join(files, " "))
		}
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	look := time.NewTicker(period)
	defer look.Stop()
	for {
		watchAgain()
		var soon <-chan time.Time
		for _, one := range plugins {
			if err := one.ensure(); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", one.resource.Name, err)
			}
			if !one.registered() && kubeletIsThere(*folder) {
				soon = time.After(again)
			}
		}
		select {
		case <-soon:
		case <-end:
			for _, one := range plugins {
				one.stop()
			}
			return nil
		case <-restarted:
			for _, one := range plugins {
				one.stop()
			}
		case <-changed:
			time.Sleep(settle)
		case <-look.C:
		}
	}
}

func read(stdin io.Reader) ([]Resource, error) {
	var resources []Resource
	decoder := json.NewDecoder(stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&resources); err != nil {
		return nil, err
	}
	for number, resource := range resources {
		switch {
		case !validName.MatchString(resource.Name):
			return nil, fmt.Errorf("[%d].name: expected letters, digits, dashes and dots, got %q", number, resource.Name)
		case len(resource.Paths) == 0:
			return nil, fmt.Errorf("[%d].paths: expected at least one", number)
		case resource.Each && resource.Count != len(resource.Paths):
			return nil, fmt.Errorf("[%d].count: expected one for each path, got %d", number, resource.Count)
		case resource.Count < 1:
			return nil, fmt.Errorf("[%d].count: expected 1 or more, got %d", number, resource.Count)
		}
	}
	return resources, nil
}

// files returns the device files of a resource and its CDI names, or an error that says what does not fit.
func (resource Resource) files() ([]string, error) {
	var found []string
	for _, pattern := range resource.Paths {
		if name, isCDI := strings.CutPrefix(pattern, "cdi:"); isCDI {
			found = append(found, "cdi:"+name)
			continue
		}
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", pattern, err)
		}
		if len(matches) == 0 {
			return nil, fmt.Errorf("%s matches nothing", pattern)
		}
		for _, path := range matches {
			info, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			if info.Mode()&os.ModeDevice == 0 {
				return nil, fmt.Errorf("%s is %s, no device file", path, kind(info))
			}
			found = append(found, path)
		}
	}
	return found, nil
}

func kind(info os.FileInfo) string {
	if info.IsDir() {
		return "a directory"
	}
	return "a file"
}
