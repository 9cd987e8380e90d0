// Command vulncheck runs govulncheck, whose path is its argument, on the module of the current directory. It fails if the module calls code of its
// dependencies that is known to be vulnerable. What is known of the standard library is listed only: it is that of the Go of whoever builds.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// message is what is needed of a message of govulncheck.
type message struct {
	Finding *struct {
		OSV   string `json:"osv"`
		Fixed string `json:"fixed_version"`
		Trace []struct {
			Module   string `json:"module"`
			Version  string `json:"version"`
			Function string `json:"function"`
		} `json:"trace"`
	} `json:"finding"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: vulncheck path/to/govulncheck")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "vulncheck:", err)
		os.Exit(1)
	}
}

func run(govulncheck string) error {
	database, err := os.MkdirTemp("", "vulndb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(database)
	if err := makeDatabase(database); err != nil {
		return err
	}
	check := exec.Command(govulncheck, "-db", "file://"+database, "-format", "json", "./...")
	check.Stderr = os.Stderr
	out, err := check.StdoutPipe()
	if err != nil {
		return err
	}
	if err := check.Start(); err != nil {
		return err
	}
	vulnerable, err := report(out)
	if err := errors.Join(err, check.Wait()); err != nil {
		return err
	}
	if vulnerable {
		return errors.New("vulnerable code of dependencies is called")
	}
	return nil
}

// report prints each vulnerability of code that is called, and reports whether one is not of the standard library.
func report(from io.Reader) (vulnerable bool, err error) {
	seen := map[string]bool{}
	for messages := json.NewDecoder(from); ; {
		var m message
		if err := messages.Decode(&m); err == io.EOF {
			return vulnerable, nil
		} else if err != nil {
			return false, err
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 || m.Finding.Trace[0].Function == "" || seen[m.Finding.OSV] {
			continue
		}
		seen[m.Finding.OSV] = true
		at := m.Finding.Trace[0]
		fmt.Printf("%s: %s %s, fixed in %s\n", m.Finding.OSV, at.Module, at.Version, m.Finding.Fixed)
		vulnerable = vulnerable || at.Module != "stdlib"
	}
}
