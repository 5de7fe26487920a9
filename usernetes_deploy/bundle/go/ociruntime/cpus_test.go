package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestACreatedContainerIsHeldToTheJobsCPUs(t *testing.T) {
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _, _ = sleeper.Process.Wait() }()
	folder := t.TempDir()
	runc, pidFile := filepath.Join(folder, "runc"), filepath.Join(folder, "pid")
	script := "#!/bin/sh\necho " + strconv.Itoa(sleeper.Process.Pid) + " > " + pidFile + "\n"
	if err := os.WriteFile(runc, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("USERNETES_RUNC", runc)
	allowed := func() string {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(sleeper.Process.Pid), "status"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "Cpus_allowed_list:\t")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	first, _, _ := strings.Cut(strings.ReplaceAll(allowed(), "-", ","), ",")
	cpus, err := parseCPUs(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := createHeld([]string{"create"}, pidFile, cpus); err != nil {
		t.Fatal(err)
	}
	if allowed() != first {
		t.Errorf("held to %s, want %s", allowed(), first)
	}
}

func TestWhatIsExecutedLaterIsHeldAsWell(t *testing.T) {
	process := rewritten(t, rules{cpus: "0,2"})["process"].(map[string]any)
	affinity := process["execCPUAffinity"].(map[string]any)
	if affinity["initial"] != "0,2" || affinity["final"] != "0,2" || process["rlimits"] == nil {
		t.Errorf("got %v", process)
	}
	if other := rewritten(t, rules{})["process"].(map[string]any); other["execCPUAffinity"] != nil {
		t.Errorf("a job with the whole host is not held: %v", other)
	}
}

func TestWhatIsNoListOfCPUsIsRefused(t *testing.T) {
	for _, list := range []string{"a", "0-3", "-1", "8192", "0,,1"} {
		if _, err := parseCPUs(list); err == nil {
			t.Errorf("%q was taken", list)
		}
	}
}
