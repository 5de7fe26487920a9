package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// invocation is what this program needs to know of runc's command line.
type invocation struct {
	command string // create, run, start, kill ...
	bundle  string // --bundle of create and run; "" means the working directory
	log     string // --log: where containerd looks for the reason of a failure
	pidFile string // --pid-file: where runc writes the number of the container's first process
}

// valued are the flags of runc that take a value in the next word.
var valued = map[string]bool{
	"--root": true, "--log": true, "--log-format": true, "--criu": true, "--rootless": true,
	"--bundle": true, "-b": true, "--console-socket": true, "--pidfd-socket": true, "--pid-file": true,
	"--preserve-fds": true, "--process": true, "-p": true,
}

func parseArgs(args []string) invocation {
	var call invocation
	for i := 0; i < len(args); i++ {
		flag, value, joined := strings.Cut(args[i], "=")
		if !strings.HasPrefix(flag, "-") {
			if call.command == "" {
				call.command = args[i]
			}
			continue
		}
		if !joined && valued[flag] && i+1 < len(args) {
			i++
			value = args[i]
		}
		switch flag {
		case "--bundle", "-b":
			call.bundle = value
		case "--log":
			call.log = value
		case "--pid-file":
			call.pidFile = value
		}
	}
	return call
}

func runRuntime(native bool, args []string) error {
	call := parseArgs(args)
	err := func() error {
		cpus, err := parseCPUs(os.Getenv("USERNETES_POD_CPUS"))
		if err != nil {
			return err
		}
		if call.command == "create" || call.command == "run" {
			rules := rules{native: native, keepCgroups: os.Getenv("USERNETES_CGROUPS") != "none", inside: inside, cpus: cpus.list}
			if err := rewriteFile(filepath.Join(call.bundle, "config.json"), rules); err != nil {
				return err
			}
		}
		if call.command == "create" && cpus.list != "" && call.pidFile != "" {
			return createHeld(args, call.pidFile, cpus)
		}
		return become("USERNETES_RUNC", "runc", args)
	}()
	if err != nil && call.log != "" {
		appendLog(call.log, err)
	}
	return err
}

// rules say how a container's config.json is changed.
type rules struct {
	native      bool                         // the pod is meant for the host's network
	keepCgroups bool                         // cgroups are delegated to us: limits work
	inside      func(kind, path string) bool // whether we are already in that namespace
	cpus        string                       // what is executed in the container later is held to these; "" is all
}

func rewriteFile(path string, rules rules) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the container's configuration: %w", err)
	}
	changed, err := rewrite(text, rules)
	if err != nil {
		return fmt.Errorf("change %s: %w", path, err)
	}
	temporary := path + ".usernetes"
	if err := os.WriteFile(temporary, changed, 0o600); err != nil {
		return fmt.Errorf("write the container's configuration: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("replace the container's configuration: %w", err)
	}
	return nil
}

type object map[string]json.RawMessage

type namespace struct {
	Type string `json:"type"`
	Path string `json:"path,omitempty"`
}

// rewrite returns the OCI configuration as a node without privileges can run it; what it does not need to change stays as
// it was, byte for byte.
func rewrite(text []byte, rules rules) ([]byte, error) {
	var config, linux object
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(config["linux"], &linux); err != nil {
		return nil, fmt.Errorf("linux: %w", err)
	}
	if !rules.keepCgroups {
		delete(linux, "cgroupsPath")
		delete(linux, "resources")
	}
	var namespaces, kept []namespace
	if raw, ok := linux["namespaces"]; ok {
		if err := json.Unmarshal(raw, &namespaces); err != nil {
			return nil, fmt.Errorf("linux.namespaces: %w", err)
		}
	}
	ownNetwork, ownIPC := false, false
	for _, one := range namespaces {
		// Joining the namespace we are in would need rights over its owner: EPERM for the host's.
		if one.Path != "" && rules.inside(one.Type, one.Path) {
			continue
		}
		ownNetwork = ownNetwork || one.Type == "network"
		ownIPC = ownIPC || one.Type == "ipc"
		kept = append(kept, one)
	}
	if err := put(linux, "namespaces", kept); err != nil {
		return nil, err
	}
	if rules.native && !ownNetwork {
		if err := bindHosts(config, "sysfs", "/sys", "rbind", "ro", "nosuid", "noexec", "nodev"); err != nil {
			return nil, err
		}
	}
	if !ownIPC {
		if err := bindHosts(config, "mqueue", "/dev/mqueue", "rbind", "nosuid", "noexec", "nodev"); err != nil {
			return nil, err
		}
	}
	if rules.cpus != "" {
		if err := holdExec(config, rules.cpus); err != nil {
			return nil, err
		}
	}
	if err := put(config, "linux", linux); err != nil {
		return nil, err
	}
	return json.Marshal(config)
}

// bindHosts replaces the fresh mount of a file system, which needs ownership of the namespace that it shows, by the host's
// own; where the host has none, the mount is left out.
func bindHosts(config object, kind, path string, options ...string) error {
	var mounts, kept []object
	if err := json.Unmarshal(config["mounts"], &mounts); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	_, absent := os.Stat(path)
	for _, mount := range mounts {
		if string(mount["type"]) != strconv.Quote(kind) {
			kept = append(kept, mount)
			continue
		}
		if absent != nil {
			continue
		}
		mount["type"] = json.RawMessage(`"none"`)
		for key, value := range map[string]any{"source": path, "options": options} {
			if err := put(mount, key, value); err != nil {
				return err
			}
		}
		kept = append(kept, mount)
	}
	return put(config, "mounts", kept)
}

func put(into object, key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	into[key] = raw
	return nil
}

var procNames = map[string]string{
	"network": "net", "mount": "mnt", "uts": "uts", "ipc": "ipc", "pid": "pid", "cgroup": "cgroup", "user": "user", "time": "time",
}

// inside tells whether path is the namespace of that kind which this process is in.
func inside(kind, path string) bool {
	var other, own syscall.Stat_t
	return syscall.Stat(path, &other) == nil && syscall.Stat("/proc/self/ns/"+procNames[kind], &own) == nil &&
		other.Ino == own.Ino && other.Dev == own.Dev
}

// appendLog writes the error as runc would, so that containerd shows it as the reason of the failed start.
func appendLog(path string, reason error) {
	line, err := json.Marshal(map[string]string{
		"level": "error", "msg": reason.Error(), "time": time.Now().UTC().Format(time.RFC3339),
	})
	if err != nil {
		return
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer file.Close()
	_, _ = file.Write(append(line, '\n'))
}
