package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAPodWithoutNetworkNamespaceIsOnTheHostsNetwork(t *testing.T) {
	for text, want := range map[string]bool{
		`{"linux": {"namespaces": [{"type": "pid"}]}}`:     true,
		`{"linux": {"namespaces": [{"type": "network"}]}}`: false,
	} {
		got, err := onHostNetwork(write(t, text))
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	if _, err := onHostNetwork(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing configuration is no error")
	}
}

// supervise answers one request with text, and returns what it was sent.
func supervise(t *testing.T, text string) (socket string, got chan string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	got = make(chan string, 1)
	go func() {
		defer syscall.Close(fd)
		peer, _, err := syscall.Accept(fd)
		if err != nil {
			return
		}
		defer syscall.Close(peer)
		data, rights := make([]byte, 1<<20), make([]byte, 128)
		all := ""
		for {
			n, rn, _, _, err := syscall.Recvmsg(peer, data, rights, 0)
			if err != nil || n == 0 {
				break
			}
			if rn > 0 {
				all = "[fds]" + all
			}
			all += string(data[:n])
		}
		got <- all
		_, _ = syscall.Write(peer, []byte(text))
	}()
	return socket, got
}

func TestTheSupervisorGetsTheWholeRequestAndItsExitCodeIsOurs(t *testing.T) {
	t.Setenv("LONG", strings.Repeat("x", 120_000))
	socket, got := supervise(t, `{"exit": 7}`)
	code, err := startNative(socket, []string{"-id", "abc", "start"})
	if err != nil || code != 7 {
		t.Errorf("got %d, %v", code, err)
	}
	request := <-got
	if !strings.HasPrefix(request, "[fds]{") || !strings.Contains(request, `"args":["-id","abc","start"]`) ||
		!strings.Contains(request, "LONG="+strings.Repeat("x", 120_000)) {
		t.Errorf("got %.200s", request)
	}
}

func TestEveryFailureOfTheSupervisorIsAnError(t *testing.T) {
	for answer, want := range map[string]string{
		`{"error": "no such file"}`: "no such file",
		``:                          "went away",
	} {
		socket, _ := supervise(t, answer)
		if _, err := startNative(socket, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", answer, err)
		}
	}
	if _, err := startNative("/nowhere/s", nil); err == nil || !strings.Contains(err.Error(), "/nowhere/s") {
		t.Errorf("got %v", err)
	}
}
