package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.zx2c4.com/wireguard/device"
)

// listenControl makes the control socket; restarted tells that a predecessor left one, so it did not end by itself.
func listenControl(path string) (restarted bool, listener net.Listener, err error) {
	if _, err := os.Lstat(path); err == nil {
		if connection, err := net.Dial("unix", path); err == nil {
			connection.Close()
			return false, nil, fmt.Errorf("another process serves the control socket %s", path)
		}
		restarted = true
		if err := os.Remove(path); err != nil {
			return restarted, nil, fmt.Errorf("remove the stale control socket: %w", err)
		}
	}
	// Born with mode 0600: a chmod afterwards would leave a moment for others.
	before := syscall.Umask(0o177)
	listener, err = net.Listen("unix", path)
	syscall.Umask(before)
	if err != nil {
		return restarted, nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	return restarted, listener, nil
}

func serveControl(listener net.Listener, wireguard *device.Device) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			handleControl(connection, wireguard)
		}()
	}
}

// handleControl speaks WireGuard's UAPI: "get=1" and "set=1" followed by lines, ended by an empty line.
func handleControl(connection io.ReadWriter, wireguard *device.Device) {
	input := bufio.NewReader(connection)
	for {
		operation, err := input.ReadString('\n')
		if err != nil {
			return
		}
		lines, err := request(input)
		if err != nil {
			return
		}
		switch operation {
		case "get=1\n":
			var state string
			state, err = wireguard.IpcGet()
			fmt.Fprint(connection, withoutSecrets(state))
		case "set=1\n":
			err = wireguard.IpcSet(lines)
		default:
			err = errors.New("unknown operation")
		}
		fmt.Fprintf(connection, "errno=%d\n\n", code(err))
	}
}

func request(input *bufio.Reader) (string, error) {
	var lines strings.Builder
	for {
		line, err := input.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\n" {
			return lines.String(), nil
		}
		lines.WriteString(line)
	}
}

func withoutSecrets(state string) string {
	var kept strings.Builder
	for line := range strings.Lines(state) {
		if !strings.HasPrefix(line, "private_key=") && !strings.HasPrefix(line, "preshared_key=") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func code(err error) int64 {
	if err == nil {
		return 0
	}
	var known *device.IPCError
	if errors.As(err, &known) {
		return known.ErrorCode()
	}
	return -int64(syscall.EINVAL)
}

func listenPort(wireguard *device.Device) (string, error) {
	state, err := wireguard.IpcGet()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(state) {
		if port, found := strings.CutPrefix(strings.TrimSpace(line), "listen_port="); found {
			return port, nil
		}
	}
	return "", errors.New("WireGuard has no port")
}
