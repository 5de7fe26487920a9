// Command ociruntime stands between containerd and runc (and its shim) on a node without privileges.
//
// It is one binary with several names, usually symbolic links beside the real programs:
//
//	usernetes-runc                       OCI runtime for pods of the mesh: edits config.json on create and run, then execs runc
//	usernetes-runc-native                the same for pods on the host's own network
//	containerd-shim-usernetes-v2         execs containerd-shim-runc-v2
//	containerd-shim-usernetes-native-v2  the same, but the shim of a pod without own network namespace is started by the
//	                                     node's supervisor, which stands in the host's network namespace
//
// Environment:
//
//	USERNETES_CGROUPS  "none": drop cgroup path and limits from every container; "delegated" (default): keep them
//	USERNETES_RUNC     path of runc                      (default: beside this program, then PATH)
//	USERNETES_SHIM     path of containerd-shim-runc-v2   (default: beside this program, then PATH)
//	USERNETES_POD_CPUS the CPUs that containers are held to (default: all)
//	USERNETES_NATIVE   the supervisor's socket           (default: /run/usernetes/native.sock)
//
// It runs once for every operation on every container, so it imports no more than it needs.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

func main() {
	name := filepath.Base(os.Args[0])
	var err error
	switch {
	case strings.HasPrefix(name, "containerd-shim-"):
		err = runShim(strings.Contains(name, "native"), os.Args[1:])
	case strings.HasPrefix(name, "usernetes-runc"):
		err = runRuntime(strings.HasSuffix(name, "-native"), os.Args[1:])
	default:
		err = fmt.Errorf("unknown name %q: call me usernetes-runc[-native] or containerd-shim-usernetes[-native]-v2", name)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// become replaces this process by the program, found by its variable, beside us, or in PATH.
func become(variable, program string, args []string) error {
	path, err := find(variable, program)
	if err != nil {
		return err
	}
	usualTimers()
	if err := syscall.Exec(path, append([]string{path}, args...), os.Environ()); err != nil {
		return fmt.Errorf("exec %s: %w", path, err)
	}
	return nil
}

// usualTimers undoes the timer slack that containerd runs with: what becomes of this process are users' containers,
// whose sleeps shall end as they do on the host. The caller execs next, so this thread stays.
func usualTimers() {
	const usual = 50_000 // ns, the kernel's own default
	runtime.LockOSThread()
	syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, usual, 0) // an error leaves it as it was
}

func find(variable, program string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		return path, nil
	}
	var folders []string
	if strings.Contains(os.Args[0], "/") {
		folders = append(folders, filepath.Dir(os.Args[0]))
	}
	if self, err := os.Executable(); err == nil {
		folders = append(folders, filepath.Dir(self))
	}
	folders = append(folders, filepath.SplitList(os.Getenv("PATH"))...)
	for _, folder := range folders {
		path := filepath.Join(folder, program)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is neither in $%s nor beside %s nor in PATH", program, variable, os.Args[0])
}
