package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// entry is what the index needs to know of a report.
type entry struct {
	ID       string `json:"id"`
	Modified string `json:"modified"`
	Affected []struct {
		Package struct {
			Name string `json:"name"`
		} `json:"package"`
		Ranges []struct {
			Events []struct {
				Fixed string `json:"fixed"`
			} `json:"events"`
		} `json:"ranges"`
	} `json:"affected"`
}

// module is an element of index/modules.json.
type module struct {
	Path  string `json:"path"`
	Vulns []vuln `json:"vulns"`
}

type vuln struct {
	ID       string `json:"id"`
	Modified string `json:"modified"`
	Fixed    string `json:"fixed,omitempty"`
}

// makeDatabase makes a database for govulncheck in a directory, from the newest golang.org/x/vulndb that the module proxy has. So a check needs no
// other server.
func makeDatabase(directory string) error {
	out, err := exec.Command("go", "mod", "download", "-json", "golang.org/x/vulndb@latest").Output()
	if err != nil {
		return fmt.Errorf("downloading golang.org/x/vulndb: %w: %s", err, out)
	}
	var source struct{ Dir string }
	if err := json.Unmarshal(out, &source); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(source.Dir, "data", "osv", "*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s has no reports: %w", source.Dir, err)
	}
	for _, sub := range []string{"ID", "index"} {
		if err := os.MkdirAll(filepath.Join(directory, sub), 0o755); err != nil {
			return err
		}
	}
	modules := map[string]*module{}
	newest := ""
	for _, file := range files {
		report, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(report, &e); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(directory, "ID", e.ID+".json"), report, 0o644); err != nil {
			return err
		}
		newest = max(newest, e.Modified)
		e.addTo(modules)
	}
	all := make([]*module, 0, len(modules))
	for _, m := range modules {
		all = append(all, m)
	}
	for name, content := range map[string]any{"db.json": map[string]string{"modified": newest}, "modules.json": all} {
		encoded, err := json.Marshal(content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(directory, "index", name), encoded, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// addTo enters a report into the index, once for each module that it is about.
func (e *entry) addTo(modules map[string]*module) {
	seen := map[string]bool{}
	for _, a := range e.Affected {
		path := a.Package.Name
		if seen[path] {
			continue
		}
		seen[path] = true
		v := vuln{ID: e.ID, Modified: e.Modified}
		for _, r := range a.Ranges {
			for _, event := range r.Events {
				if event.Fixed != "" {
					v.Fixed = event.Fixed
				}
			}
		}
		if modules[path] == nil {
			modules[path] = &module{Path: path}
		}
		modules[path].Vulns = append(modules[path].Vulns, v)
	}
}
