package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const comesOrGoes = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB

const kubeletSocket = "kubelet.sock"

func kubeletIsThere(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, kubeletSocket))
	return err == nil
}

// kubeletStarts returns a channel that gets a value each time the kubelet has made its socket anew: it has then forgotten
// all plugins.
func kubeletStarts(folder string) (<-chan struct{}, error) {
	watch, starts, err := inotify(kubeletSocket + "\x00")
	if err != nil {
		return nil, fmt.Errorf("watch the kubelet's folder: %w", err)
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("make the kubelet's folder: %w", err)
	}
	if _, err := unix.InotifyAddWatch(watch, folder, unix.IN_CREATE); err != nil {
		return nil, fmt.Errorf("watch %s: %w", folder, err)
	}
	return starts, nil
}

// fileChanges returns a channel that gets a value when files came or went where the resources' device files are, and the
// function that watches those folders: call it again after each change, for a folder may have come or gone itself.
func fileChanges(resources []Resource) (changes <-chan struct{}, again func(), err error) {
	watch, changes, err := inotify("")
	if err != nil {
		return nil, nil, fmt.Errorf("watch device files: %w", err)
	}
	return changes, func() {
		for _, resource := range resources {
			for _, pattern := range resource.Paths {
				if folder := existingFolder(pattern); folder != "" {
					_, _ = unix.InotifyAddWatch(watch, folder, comesOrGoes)
				}
			}
		}
	}, nil
}

// existingFolder returns the innermost folder of a glob that is there and that holds all its matches; "" for a CDI name.
func existingFolder(pattern string) string {
	if !strings.HasPrefix(pattern, "/") {
		return ""
	}
	if first := strings.IndexAny(pattern, `*?[\`); first >= 0 {
		pattern = pattern[:first+1]
	}
	folder := filepath.Dir(pattern)
	for {
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			return folder
		}
		folder = filepath.Dir(folder)
	}
}

// inotify returns a new watch, without folders yet, and a channel that gets a value after events whose record has `wanted`.
func inotify(wanted string) (watch int, seen <-chan struct{}, err error) {
	watch, err = unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return -1, nil, err
	}
	events := make(chan struct{}, 1)
	go func() {
		buffer := make([]byte, 4096)
		for {
			count, err := unix.Read(watch, buffer)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			if bytes.Contains(buffer[:count], []byte(wanted)) {
				select {
				case events <- struct{}{}:
				default:
				}
			}
		}
	}()
	return watch, events, nil
}
