package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
)

const defaultSocket = "/run/usernetes/native.sock"

// request asks the supervisor to run the real shim where it stands: in the host's network namespace. The file
// descriptors 0, 1 and 2 travel beside it.
type request struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	Cwd  string   `json:"cwd"`
}

// answer says how that ended: the shim's exit code, or why it was not run.
type answer struct {
	Exit  int    `json:"exit"`
	Error string `json:"error"`
}

func runShim(native bool, args []string) error {
	if native && slices.Contains(args, "start") {
		hostNetwork, err := onHostNetwork("config.json")
		if err != nil {
			return err
		}
		if hostNetwork {
			code, err := startNative(socketPath(), args)
			if err != nil {
				return fmt.Errorf("start the shim on the host's network: %w", err)
			}
			os.Exit(code)
		}
	}
	return become("USERNETES_SHIM", "containerd-shim-runc-v2", args)
}

func socketPath() string {
	if path := os.Getenv("USERNETES_NATIVE"); path != "" {
		return path
	}
	return defaultSocket
}

// onHostNetwork tells whether a container has no network namespace of its own and joins nobody's.
func onHostNetwork(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("read the pod's configuration: %w", err)
	}
	var config struct {
		Linux struct {
			Namespaces []namespace `json:"namespaces"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return false, fmt.Errorf("read the pod's configuration %s: %w", path, err)
	}
	return !slices.ContainsFunc(config.Linux.Namespaces, func(one namespace) bool { return one.Type == "network" }), nil
}

// startNative hands args, environment, working directory and our standard streams to the supervisor, and waits for the
// exit code.
func startNative(socket string, args []string) (int, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	message, err := json.Marshal(request{Args: args, Env: os.Environ(), Cwd: cwd})
	if err != nil {
		return 0, err
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket: %w", err)
	}
	connection := os.NewFile(uintptr(fd), socket)
	defer connection.Close()
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return 0, fmt.Errorf("connect to the supervisor at %s: %w", socket, err)
	}
	sent, err := syscall.SendmsgN(fd, message, syscall.UnixRights(0, 1, 2), nil, 0)
	if err != nil {
		return 0, fmt.Errorf("send the request to %s: %w", socket, err)
	}
	if _, err := connection.Write(message[sent:]); err != nil {
		return 0, fmt.Errorf("send the request to %s: %w", socket, err)
	}
	if err := syscall.Shutdown(fd, syscall.SHUT_WR); err != nil {
		return 0, fmt.Errorf("send the request to %s: %w", socket, err)
	}
	text, err := io.ReadAll(connection)
	if err != nil {
		return 0, fmt.Errorf("read the answer from %s: %w", socket, err)
	}
	var reply answer
	if err := json.Unmarshal(text, &reply); err != nil {
		return 0, fmt.Errorf("the supervisor at %s went away before it answered (%q)", socket, strings.TrimSpace(string(text)))
	}
	if reply.Error != "" {
		return 0, errors.New(reply.Error)
	}
	return reply.Exit, nil
}
