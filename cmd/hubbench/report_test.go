package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// example has results of a few scenarios.
func example() *results {
	rounds := func(of ...figures) []figures { return of }
	return &results{Machine: "a machine", Date: "2026-11-30", Commit: "`abc`", Rounds: 3, Window: 2 * time.Second, Scenarios: []*measured{
		{Name: "broadcast 1,000 × 50/s", Servers: []*runs{
			{rawLoop, rounds(figures{CPU: 4, PerSecond: 50000, Reached: 1}, figures{CPU: 5, PerSecond: 50000, Reached: 1}, figures{CPU: 90, PerSecond: 50000, Reached: 1})},
			{oneNode, rounds(figures{CPU: 4, PerSecond: 50000, Reached: 1, Objects: 0.07}, figures{CPU: 2}, figures{CPU: 9, PerSecond: 1234567, Reached: 1})},
			{original, rounds(figures{CPU: 5, Reached: 0.5, Generator: 0.95})},
		}, LeftOut: []string{"other (it has no order)"}},
		{Name: "broadcast 1,000 × 50/s, MessagePack", Servers: []*runs{{oneNode, rounds(figures{CPU: 4})}}},
		{Name: "broadcast 1,000, highest rate", Servers: []*runs{{oneNode, rounds(figures{PerSecond: 300, CPU: 1})}, {original, rounds(figures{PerSecond: 100, CPU: 0.1})}}},
		{Name: "idle, 10,000", Servers: []*runs{{bareEcho, rounds(figures{Memory: 5000})}, {oneNode, rounds(figures{Memory: 9216, Goroutines: 1, CPU: 3})}}},
		{Name: "nodes: idle, 10,000", Servers: []*runs{{oneNode, rounds(figures{CPU: 1, Memory: 9000})}, {"3 nodes", rounds(figures{CPU: 7, Memory: 10000})}}},
		{Name: "churn, 200/s", Servers: []*runs{{oneNode, rounds(figures{Growth: 1.01})}}},
		{Name: "a scenario that is no more", Servers: []*runs{{oneNode, rounds(figures{CPU: 1})}}},
	}}
}

// cells are those of the rows of a table that begin with a text.
func cells(table, first string) (all []string) {
	for line := range strings.Lines(table) {
		if row := strings.Split(strings.Trim(line, "|\n"), "|"); strings.TrimSpace(row[0]) == first {
			for _, cell := range row[1:] {
				all = append(all, strings.TrimSpace(cell))
			}
		}
	}
	return all
}

func TestRatiosAreJudged(t *testing.T) {
	table := example().ratios()
	for name, want := range map[string][]string{
		"broadcast 1,000 × 50/s":              {"CPU µs", "4", "5", "5", "0.80 ≤ 1 ✔", "0.80 ≤ 0.60 ✘", ""},
		"broadcast 1,000 × 50/s, MessagePack": {"CPU µs", "4", "", "", "", "", "1 ≤ 1.05 ✔"},
		"broadcast 1,000, highest rate":       {"per s", "300", "", "100", "", "3 ≥ 1.50 ✔", ""},
		"idle, 10,000":                        {"RSS B", "9,216 ≤ 10,240 ✔", "5,000", "", "1.84", "", ""},
		"":                                    {"figure", "Troupe", "baseline", "original", "÷ baseline", "÷ original", "÷ row above", "goroutines", "1 ≤ 1.01 ✔", "–", "", "", "", "", "CPU µs", "3 ≤ 2 ✘", "–", "", "", "", "", "left", "0 ≤ 0 ✔", "", "", "", "", ""},
		"nodes: idle, 10,000":                 {"CPU µs", "7", "1", "", "7", "", ""},
		"churn, 200/s":                        {"growth", "1.01 ≤ 1.05 ✔", "", "", "", "", ""},
		"a scenario that is no more":          nil,
	} {
		require.Equal(t, want, cells(table, name), name)
	}
}

func TestFiguresAreMediansWithoutWhatNobodySays(t *testing.T) {
	table := example().Scenarios[0].figures()
	require.Equal(t, []string{"per s", "reached", "CPU µs", "generator"}, cells(table, ""))
	require.Equal(t, []string{"50,000", "100 %", "5", "–"}, cells(table, rawLoop))
	require.Equal(t, []string{"50,000", "100 %", "4", "–"}, cells(table, oneNode))
	require.Equal(t, []string{"–", "50 %", "5", "95 % (!)"}, cells(table, original))
	require.Contains(t, table, "(!): the load generator")
	require.Contains(t, table, "Left out: other (it has no order).")
	require.Contains(t, cells(example().Scenarios[5].figures(), ""), "left", "0 says that nothing is left")
}

func TestAServerThatIsLeftOutReachesNoTarget(t *testing.T) {
	rounds := []figures{{CPU: 5, PerSecond: 100, Reached: 1, Memory: 5000, P99: 1}}
	for i := range scenarios {
		sc := &scenarios[i]
		r := &results{Scenarios: []*measured{{Name: sc.name, Servers: []*runs{{sc.baseline, rounds}, {original, rounds}}}}}
		if sc.beside != "" {
			r.Scenarios = append(r.Scenarios, &measured{Name: sc.beside, Servers: []*runs{{oneNode, rounds}}})
		}
		for _, target := range sc.goals() {
			row := strings.Join(r.ratio(sc, r.Scenarios[0], target), "|")
			require.NotContains(t, row, "✔", sc.name)
			require.Equal(t, sc.targets != nil, strings.Contains(row, "– ✘"), "%s: %s", sc.name, row)
		}
	}
}

func TestTheMedianOfEvenlyManyRoundsLiesBetweenTwo(t *testing.T) {
	r := runs{Rounds: []figures{{CPU: 1}, {CPU: 9}, {CPU: 4}, {CPU: 2}}}
	require.InDelta(t, 3, r.median(cpuEach), 0)
}

func TestShortNumbers(t *testing.T) {
	for text, v := range map[string]float64{
		"0": 0, "1": 1, "0.06": 0.055001, "9.99": 9.99, "10.0": 9.996, "99.9": 99.94, "100": 99.96, "512": 511.7, "1,000": 999.9, "1,234,568": 1234567.8, "-12,345": -12345,
	} {
		require.Equal(t, text, short(v))
	}
}

func TestThePlotIsADrawingWithTexts(t *testing.T) {
	svg := example().plot()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	var texts []string
	rects := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "rect" {
				rects++
			}
		case xml.CharData:
			texts = append(texts, strings.TrimSpace(string(token)))
		}
	}
	const keys, bars = 2, 4 // two of the broadcast, one of the highest rate, one of idle
	require.Equal(t, keys+bars, rects)
	require.Contains(t, texts, "broadcast 1,000 × 50/s")
	require.Contains(t, texts, "idle, 10,000: memory")
	require.NotContains(t, texts, "churn, 200/s", "it is compared with nothing")
	require.Contains(t, svg, `width="440" height="13"/><text class="small" x="775"`, "a bar that is too long ends, and its number stands behind it")
	require.Contains(t, texts, "10", "which is the ratio")
	require.Contains(t, svg, "prefers-color-scheme:dark")
}

func TestWhatIsWrittenCanBeReadAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	require.NoError(t, example().write(dir))
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	var again results
	require.NoError(t, json.Unmarshal(raw, &again))
	require.Equal(t, example(), &again)
	for file, text := range map[string]string{"results.md": again.report(), "results.svg": again.plot()} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Equal(t, text, string(b))
	}
}
