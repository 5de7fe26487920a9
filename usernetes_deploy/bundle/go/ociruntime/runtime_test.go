package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const config = `{
  "ociVersion": "1.2.0",
  "process": {"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 18446744073709551615, "soft": 1024}]},
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
             {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"]},
             {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid"]}],
  "linux": {"cgroupsPath": "/kubepods/x", "resources": {"memory": {"limit": 9007199254740993}},
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/joined"}, {"type": "uts", "path": "/other"},
                           {"type": "ipc", "path": "/ours"}]}
}`

func rewritten(t *testing.T, rules rules) map[string]any {
	t.Helper()
	if rules.inside == nil {
		rules.inside = func(_, path string) bool { return path == "/joined" }
	}
	text, err := rewrite([]byte(config), rules)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("18446744073709551615")) {
		t.Error("a large number lost its digits")
	}
	var parsed map[string]any
	if err := json.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func linux(config map[string]any) map[string]any { return config["linux"].(map[string]any) }

func TestLimitsAreDroppedWithoutDelegatedCgroups(t *testing.T) {
	section := linux(rewritten(t, rules{}))
	if section["cgroupsPath"] != nil || section["resources"] != nil {
		t.Errorf("still there: %v", section)
	}
}

func TestLimitsStayWithDelegatedCgroups(t *testing.T) {
	section := linux(rewritten(t, rules{keepCgroups: true}))
	if section["cgroupsPath"] != "/kubepods/x" || section["resources"] == nil {
		t.Errorf("lost: %v", section)
	}
}

func TestANamespaceWeAreInIsNotJoinedAgain(t *testing.T) {
	kept := linux(rewritten(t, rules{}))["namespaces"].([]any)
	if len(kept) != 3 || kept[1].(map[string]any)["path"] != "/other" {
		t.Errorf("got %v", kept)
	}
}

func sysMount(config map[string]any) map[string]any {
	return config["mounts"].([]any)[1].(map[string]any)
}

func TestANativePodSeesTheHostsSysReadOnly(t *testing.T) {
	mount := sysMount(rewritten(t, rules{native: true}))
	if mount["source"] != "/sys" || mount["options"].([]any)[0] != "rbind" || mount["options"].([]any)[1] != "ro" {
		t.Errorf("got %v", mount)
	}
}

func TestAPodWithItsOwnNetworkKeepsItsSysfs(t *testing.T) {
	elsewhere := rules{native: true, inside: func(_, _ string) bool { return false }}
	if mount := sysMount(rewritten(t, elsewhere)); mount["type"] != "sysfs" {
		t.Errorf("got %v", mount)
	}
	if mount := sysMount(rewritten(t, rules{})); mount["type"] != "sysfs" {
		t.Errorf("got %v", mount)
	}
}

func TestAPodOfTheHostsIPCGetsTheHostsQueues(t *testing.T) {
	queues := func(config map[string]any) []any { return config["mounts"].([]any)[2:] }
	if mount := queues(rewritten(t, rules{}))[0].(map[string]any); mount["type"] != "mqueue" {
		t.Errorf("with its own: %v", mount)
	}
	found := queues(rewritten(t, rules{inside: func(_, path string) bool { return path == "/ours" }}))
	if _, err := os.Stat("/dev/mqueue"); err != nil {
		if len(found) != 0 {
			t.Errorf("a host without queues: %v", found)
		}
	} else if found[0].(map[string]any)["source"] != "/dev/mqueue" {
		t.Errorf("got %v", found)
	}
}

func TestTheCommandLineOfRuncIsUnderstood(t *testing.T) {
	call := parseArgs(strings.Fields("--root /run/create --log=/l.json --systemd-cgroup create --bundle /b --pid-file p id"))
	if call != (invocation{command: "create", bundle: "/b", log: "/l.json", pidFile: "p"}) {
		t.Errorf("got %+v", call)
	}
	if call := parseArgs(strings.Fields("--root /run/run delete --force run")); call.command != "delete" {
		t.Errorf("got %+v", call)
	}
}

func TestADamagedConfigurationIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(`{"linux": 3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	err := rewriteFile(path, rules{inside: inside})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestTheReasonOfAFailureReachesContainerdsLog(t *testing.T) {
	folder := t.TempDir()
	log := filepath.Join(folder, "log.json")
	err := runRuntime(false, []string{"--log", log, "create", "--bundle", filepath.Join(folder, "missing"), "id"})
	if err == nil {
		t.Fatal("no error")
	}
	text, _ := os.ReadFile(log)
	var line map[string]string
	if json.Unmarshal(text, &line) != nil || line["level"] != "error" || !strings.Contains(line["msg"], "missing/config.json") {
		t.Errorf("got %s", text)
	}
}

func TestOurOwnNamespacesAreRecognised(t *testing.T) {
	if !inside("network", "/proc/self/ns/net") || inside("network", "/proc/self/ns/uts") || inside("network", "/nowhere") {
		t.Error("wrong")
	}
}
