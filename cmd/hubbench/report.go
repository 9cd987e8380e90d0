package main

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// busy is the part of a core above which the load generator may be what limits a figure.
const busy = 0.9

// report returns everything that has been measured, in Markdown.
func (r *results) report() string {
	var b strings.Builder
	b.WriteString("# Measured\n\nThis file is written by `make bench` and `make bench-full`, from [results.json](results.json).\n\n")
	fmt.Fprintf(&b, "%s, at commit %s. %s. Medians of %d, windows of %v. Clients, servers and the load generator share the machine, over loopback.\n"+
		"Compare figures of one row, and not with those of other runs.\n\n", r.Date, r.Commit, r.Machine, r.Rounds, r.Window)
	b.WriteString("![CPU of Troupe, relative to the original server and to the baselines](results.svg)\n\n## Ratios\n\n" + r.ratios() + "\n")
	b.WriteString("- CPU is that of the server process, user and system, per delivery, call, item or connect; of connections that do nothing, per second of each.\n" +
		"- Latency is from Send to the client (with groups, and with 16 KB: from when the message was due), or from a call to its answer. RSS is what connections have added to the resident set, each; under load with garbage.\n" +
		"- The generator is what clients have used of one core.\n" +
		"- ÷ is Troupe divided by what is named; what it shall reach stands behind it. ✔ and ✘ say whether it does.\n" +
		"- The raw loop writes one prepared frame to one socket after the other; the bare echo answers calls on a goroutine for each socket. Both have no hub.\n\n## Figures\n")
	for _, m := range r.Scenarios {
		b.WriteString("\n" + m.figures())
	}
	return b.String()
}

// ratios is the table of what Troupe has reached, beside its targets.
func (r *results) ratios() string {
	table := [][]string{{"", "figure", "Troupe", "baseline", "original", "÷ baseline", "÷ original", "÷ row above"}}
	for _, m := range r.Scenarios {
		sc := m.scenario()
		if sc == nil {
			continue
		}
		for i, t := range sc.goals() {
			table = append(table, r.ratio(sc, m, t))
			if i > 0 {
				table[len(table)-1][0] = ""
			}
		}
	}
	return markdown(table)
}

// goals returns the targets of a scenario, or one that asks for nothing.
func (sc *scenario) goals() []target {
	if sc.targets == nil {
		return []target{{of: cpuEach}}
	}
	return sc.targets
}

// subject is the server that is compared with the others.
func (m *measured) subject(sc *scenario) string {
	if !sc.isNodes() {
		return oneNode
	}
	for _, s := range m.Servers {
		if s.Server != oneNode {
			return s.Server
		}
	}
	return ""
}

func (r *results) ratio(sc *scenario, m *measured, t target) []string {
	subject := m.subject(sc)
	value := m.median(subject, t.of)
	own := t.of.format(value)
	known := m.of(subject) != nil && (value != 0 || t.of.zero)
	switch {
	case !known && (t != target{of: t.of} || t.of.zero): // it was left out
		own = "– " + mark(false)
	case known && (t.value > 0 || t.of.zero):
		own = t.of.judged(own, t.of.format(t.value), value, t.value)
	}
	per := func(other, limit float64) string {
		switch ratio := value / other; {
		case !known || other == 0 || t.of.alone:
			return ""
		case limit == 0:
			return short(ratio)
		default:
			return t.of.judged(short(ratio), short(limit), ratio, limit)
		}
	}
	row := []string{sc.name, t.of.name, own}
	for _, name := range []string{sc.baseline, original} {
		if m.of(name) != nil {
			row = append(row, t.of.format(m.median(name, t.of)))
		} else {
			row = append(row, "")
		}
	}
	return append(row, per(m.median(sc.baseline, t.of), t.baseline), per(m.median(original, t.of), t.original), per(r.find(sc.beside).median(oneNode, t.of), t.beside))
}

// judged is a value with its limit, and whether it keeps it.
func (m *metric) judged(text, limitText string, value, limit float64) string {
	if m.more {
		return fmt.Sprintf("%s ≥ %s %s", text, limitText, mark(value >= limit))
	}
	return fmt.Sprintf("%s ≤ %s %s", text, limitText, mark(value <= limit))
}

func mark(ok bool) string {
	if ok {
		return "✔"
	}
	return "✘"
}

// figures is the table of what servers have reached in a scenario. Figures that no server has are left out.
func (m *measured) figures() string {
	table := [][]string{{""}}
	var shown []*metric
	for _, c := range columns {
		for _, r := range m.Servers {
			if c.zero && m.isChurn() || r.median(c) != 0 {
				shown = append(shown, c)
				table[0] = append(table[0], c.name)
				break
			}
		}
	}
	notes := ""
	for _, r := range m.Servers {
		row := []string{r.Server}
		for _, c := range shown {
			text := c.format(r.median(c))
			if c == generatorShare && r.isLimited() {
				text += " (!)"
				notes = "\n(!): the load generator was busy for more than 90 % of a core while no offered rate was reached: the server may be able to do more.\n"
			}
			row = append(row, text)
		}
		table = append(table, row)
	}
	for _, who := range m.LeftOut {
		notes += "\nLeft out: " + who + ".\n"
	}
	return "### " + m.Name + "\n\n" + markdown(table) + notes
}

// isLimited reports whether the load generator may be what has limited a server.
func (r *runs) isLimited() bool {
	rate := r.median(reached)
	return r.median(generatorShare) > busy && rate < 0.99
}

func (m *measured) isChurn() bool {
	sc := m.scenario()
	return sc != nil && sc.load.kind == churn
}

// format is the text of a value; "–" if it is not known.
func (m *metric) format(value float64) string {
	switch {
	case value == 0 && !m.zero:
		return "–"
	case m == generatorShare || m == reached:
		return fmt.Sprintf("%.0f %%", value*100)
	}
	return short(value)
}

// short is a number with three digits that count, or as a whole number with commas.
func short(v float64) string {
	switch abs := math.Abs(v); {
	case v == math.Trunc(v) && abs < 1000:
		return fmt.Sprintf("%.0f", v)
	case abs < 9.995:
		return fmt.Sprintf("%.2f", v)
	case abs < 99.95:
		return fmt.Sprintf("%.1f", v)
	case abs < 999.5:
		return fmt.Sprintf("%.0f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, c := range digits {
		if left := len(digits) - i; i > 0 && left%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// markdown is a table whose columns stand below each other in plain text, too.
func markdown(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+1))
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for _, width := range widths {
			b.WriteString("|" + strings.Repeat("-", width+2))
		}
		b.WriteString("|\n")
	}
	return b.String()
}
