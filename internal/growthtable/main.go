// Growthtable prints what "go test -bench Growth" prints, which it reads from its input, as a table of the time for one unit of the input against its
// size. actors/growth_bench_test.go says how to read it.
package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

const (
	mostGrowth = 3.0 // of the time at the largest size, against that at the smallest
	mostWait   = 6.0 // milliseconds, at the largest size: 1 until a waiter is served next, and a time slice of a busy machine
)

// row is one benchmark, with a cell for each size.
type row struct {
	name  string
	cells []string
	units []float64 // ns/unit
	waits []float64 // max-ms; none: it was not measured
}

var result = regexp.MustCompile(`^BenchmarkGrowth(.+)/n=(\d+)(?:-\d+)?\s`)

func main() {
	var rows []*row
	failed := false
	pkg := ""
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "pkg: "); ok {
			pkg = name[strings.LastIndex(name, "/")+1:]
		}
		found := result.FindStringSubmatch(line)
		if found == nil {
			if strings.Contains(line, "FAIL") || strings.Contains(line, "panic:") {
				failed = true
			}
			if failed {
				fmt.Println(line)
			}
			continue
		}
		name := pkg + " " + found[1]
		if len(rows) == 0 || rows[len(rows)-1].name != name {
			rows = append(rows, &row{name: name})
		}
		rows[len(rows)-1].add(found[2], strings.Fields(line))
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "ns/unit\t\t\t\tgrowth\tmax-ms\t")
	for _, r := range rows {
		r.print(out)
	}
	_ = out.Flush()
	if failed || len(rows) == 0 {
		os.Exit(1)
	}
}

// add adds a result: metrics, each in front of its unit.
func (r *row) add(size string, fields []string) {
	for i := 1; i < len(fields); i++ {
		value, err := strconv.ParseFloat(fields[i-1], 64)
		switch {
		case err != nil:
		case fields[i] == "ns/unit":
			r.units = append(r.units, value)
			r.cells = append(r.cells, fmt.Sprintf("n=%s: %.4g", size, value))
		case fields[i] == "max-ms":
			r.waits = append(r.waits, value)
		}
	}
}

func (r *row) print(out *tabwriter.Writer) {
	if len(r.units) == 0 {
		return
	}
	growth, wait, flags := r.units[len(r.units)-1]/r.units[0], "", ""
	if growth > mostGrowth {
		flags = "GROWS "
	}
	if len(r.waits) > 0 {
		last := r.waits[len(r.waits)-1]
		if wait = fmt.Sprintf("%.3g", last); last > mostWait {
			flags += "WAITS"
		}
	}
	fmt.Fprintln(out, strings.Join(append(append([]string{r.name}, r.cells...), fmt.Sprintf("×%.1f", growth), wait, flags), "\t"))
}
