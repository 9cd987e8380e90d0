package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// machine describes where figures have been taken.
func machine() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, %s %s, %s", cmp.Or(cpuModel(), runtime.GOARCH), runtime.NumCPU(), runtime.GOOS, strings.TrimSpace(string(release)), runtime.Version())
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// commit is that of the working directory, and says whether something in it has been changed.
func commit() string {
	hash, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	text := "`" + strings.TrimSpace(string(hash)) + "`"
	if exec.Command("git", "diff", "--quiet", "HEAD", "--", ":!docs").Run() != nil {
		text += " with changes"
	}
	return text
}
