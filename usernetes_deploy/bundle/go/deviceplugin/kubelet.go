package main

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// kubeletStarts returns a channel that gets a value each time the kubelet has made its socket anew: it has then forgotten
// all plugins.
func kubeletStarts(folder string) (<-chan struct{}, error) {
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch the kubelet's folder: %w", err)
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("make the kubelet's folder: %w", err)
	}
	if _, err := unix.InotifyAddWatch(watch, folder, unix.IN_CREATE); err != nil {
		return nil, fmt.Errorf("watch %s: %w", folder, err)
	}
	starts := make(chan struct{}, 1)
	go func() {
		buffer := make([]byte, 4096)
		for {
			count, err := unix.Read(watch, buffer)
			if err != nil {
				return
			}
			if bytes.Contains(buffer[:count], []byte("kubelet.sock\x00")) {
				select {
				case starts <- struct{}{}:
				default:
				}
			}
		}
	}()
	return starts, nil
}
