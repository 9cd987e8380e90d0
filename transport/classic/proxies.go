package classic

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"unicode"
)

//go:embed proxies.js
var proxiesScript []byte

// WriteProxies writes the script that gives a page the hubs as objects, for an endpoint at a URL.
func WriteProxies(w io.Writer, url string, hubs []Hub) error {
	var objects bytes.Buffer
	objects.WriteByte('{')
	hubs = slices.SortedFunc(slices.Values(hubs), func(a, b Hub) int { return strings.Compare(a.Proxy(), b.Proxy()) })
	for i, hub := range hubs {
		if i > 0 {
			objects.WriteByte(',')
		}
		objects.WriteString("\n      ")
		writeJSON(&objects, hub.Proxy())
		objects.WriteString(": {")
		methods := slices.SortedFunc(slices.Values(hub.Methods()), func(a, b Method) int { return strings.Compare(a.Proxy, b.Proxy) })
		for j, method := range methods {
			if j > 0 {
				objects.WriteString(", ")
			}
			writeJSON(&objects, method.Proxy)
			objects.WriteString(": ")
			writeJSON(&objects, method.Name)
		}
		objects.WriteByte('}')
	}
	objects.WriteString("\n    }")
	var address bytes.Buffer
	writeJSON(&address, url)
	before, rest, _ := bytes.Cut(proxiesScript, []byte("HUBS"))
	between, after, _ := bytes.Cut(rest, []byte("URL"))
	script := slices.Concat(before, objects.Bytes(), between, address.Bytes(), after)
	_, err := w.Write(script)
	return err
}

// writeJSON writes a text as JSON that can stand in a script.
func writeJSON(b *bytes.Buffer, text string) {
	quoted, _ := json.Marshal(text) // a string
	b.Write(quoted)
}

// CamelCase returns the name that JavaScript has for a name in Go: each part of it begins in lower case.
func CamelCase(name string) string {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		runes := []rune(part)
		if len(runes) > 0 {
			runes[0] = unicode.ToLower(runes[0])
		}
		parts[i] = string(runes)
	}
	return strings.Join(parts, ".")
}
