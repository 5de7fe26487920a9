package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// A batch job may have only some of its host's CPUs, and often by affinity alone. runc gives every container all CPUs of
// its cgroup, which without delegation is all of the host: here containers get the job's again.

// cpuSet is a list of CPUs such as "0,1,8", and the same as the kernel's mask.
type cpuSet struct {
	list string
	mask [128]uint64 // 8192 CPUs, the most that Linux can be built for
}

func parseCPUs(list string) (cpuSet, error) {
	set := cpuSet{list: list}
	if list == "" {
		return set, nil
	}
	for _, word := range strings.Split(list, ",") {
		number, err := strconv.Atoi(word)
		if err != nil || number < 0 || number >= len(set.mask)*64 {
			return cpuSet{}, fmt.Errorf("USERNETES_POD_CPUS=%s: %q is no CPU", list, word)
		}
		set.mask[number/64] |= 1 << (number % 64)
	}
	return set, nil
}

// createHeld runs runc and holds the container it made, which waits for its start, to the CPUs.
func createHeld(args []string, pidFile string, cpus cpuSet) error {
	path, err := find("USERNETES_RUNC", "runc")
	if err != nil {
		return err
	}
	runtime.LockOSThread() // Pdeathsig means this thread's death
	runc, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	ended, err := runc.Wait()
	if err != nil {
		return fmt.Errorf("wait for runc: %w", err)
	}
	if code := ended.ExitCode(); code != 0 {
		if code < 0 {
			code = 1
		}
		os.Exit(code) // runc has said why
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("read the container's process id: %w", err)
	}
	return hold(strings.TrimSpace(string(text)), cpus)
}

// hold sets the affinity of all threads of a process.
func hold(pid string, cpus cpuSet) error {
	threads, err := filepath.Glob(filepath.Join("/proc", pid, "task", "*"))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("hold process %s to CPUs %s: it is gone", pid, cpus.list)
	}
	for _, thread := range threads {
		number, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			continue
		}
		_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY,
			uintptr(number), unsafe.Sizeof(cpus.mask), uintptr(unsafe.Pointer(&cpus.mask)))
		if errno != 0 && errno != syscall.ESRCH {
			return fmt.Errorf("hold thread %d of the container to CPUs %s: %w", number, cpus.list, errno)
		}
	}
	return nil
}

// holdExec has runc hold what it executes in the container later.
func holdExec(config object, cpus string) error {
	var process object
	if err := json.Unmarshal(config["process"], &process); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	affinity := map[string]string{"initial": cpus, "final": cpus}
	if err := put(process, "execCPUAffinity", affinity); err != nil {
		return err
	}
	return put(config, "process", process)
}
