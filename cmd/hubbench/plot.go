package main

import (
	"fmt"
	"html"
	"strings"
)

// The plot is drawn in these sizes, in pixels.
const (
	plotLabels = 330 // of the column with names
	plotScale  = 220 // of a ratio of 1
	plotMost   = 2.0 // the ratio of the longest bar
	plotHead   = 64
	plotBar    = 13
	plotSpace  = 11 // between scenarios
)

const plotStyle = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}
.small{font-size:11px;fill:#59636e}
.one{stroke:#59636e;stroke-dasharray:3 3}
.original{fill:#0969da}
.baseline{fill:#8c959f}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.small{fill:#9198a1}.one{stroke:#9198a1}.original{fill:#4493f8}.baseline{fill:#656c76}}
</style>
`

// plot returns a drawing in SVG: bars of the CPU of Troupe, divided by that of the original server and of the baseline.
func (r *results) plot() string {
	var rows strings.Builder
	y := plotHead
	for _, m := range r.Scenarios {
		sc := m.scenario()
		if sc == nil || sc.isNodes() { // whose baseline has a hub
			continue
		}
		of, name := cpuEach, sc.name
		if sc.load.kind == idle {
			of, name = memoryEach, sc.name+": memory"
		}
		own := m.median(m.subject(sc), of)
		others := []struct {
			class string
			value float64
		}{{original, m.median(original, of)}, {"baseline", m.median(sc.baseline, of)}}
		bars := ""
		at := y
		for _, other := range others {
			if own > 0 && other.value > 0 {
				bars += bar(at, other.class, own/other.value)
				at += plotBar + 2
			}
		}
		if bars != "" {
			fmt.Fprintf(&rows, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n%s", plotLabels-10, y+(at-y)/2+4, html.EscapeString(name), bars)
			y = at + plotSpace
		}
	}
	width := plotLabels + int(plotMost*plotScale) + 60
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="CPU of Troupe relative to others">`+"\n", width, y+10) +
		plotStyle + legend() +
		fmt.Sprintf(`<line class="one" x1="%d" x2="%[1]d" y1="%d" y2="%d"/>`+"\n", plotLabels+plotScale, plotHead-6, y) +
		rows.String() + "</svg>\n"
}

func legend() string {
	return fmt.Sprintf(`<text x="10" y="20">CPU of Troupe per delivery, call, item or connect, divided by that of others: shorter is better</text>
<rect class="original" x="%d" y="32" width="12" height="12"/><text class="small" x="%d" y="42">÷ original server</text>
<rect class="baseline" x="%d" y="32" width="12" height="12"/><text class="small" x="%d" y="42">÷ baseline without a hub</text>
<text class="small" x="%d" y="54" text-anchor="middle">1</text>
`, plotLabels-320, plotLabels-303, plotLabels-190, plotLabels-173, plotLabels+plotScale)
}

// bar is one bar with its number. What is longer than the drawing is cut off, which its number shows.
func bar(y int, class string, ratio float64) string {
	length := int(min(ratio, plotMost) * plotScale)
	return fmt.Sprintf(`<rect class="%s" x="%d" y="%d" width="%d" height="%d"/><text class="small" x="%d" y="%d">%s</text>`+"\n",
		class, plotLabels, y, length, plotBar, plotLabels+length+5, y+plotBar-3, short(ratio))
}
