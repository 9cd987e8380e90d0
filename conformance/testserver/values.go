package main

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// CustomObject and Complex have the members of the reference's objects of these names. A pointer stands for what can be null there.
type CustomObject struct {
	Name  *string
	Value int32
}

type Complex struct {
	String    *string
	IntArray  []int32
	ByteArray []byte
	GUID      GUID `msgpack:"Guid"`
	DateTime  DateTime
}

// GUID is written in groups of hexadecimal digits.
type GUID [16]byte

func (g GUID) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:]), nil
}

func (g *GUID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "-", ""))
	if err != nil || len(b) != len(g) {
		return fmt.Errorf("%q is no GUID", text)
	}
	copy(g[:], b)
	return nil
}

// DateTime is a time whose zero value has no zone, as the reference's has none.
type DateTime struct{ time.Time }

func (d DateTime) MarshalJSON() ([]byte, error) {
	if d.IsZero() {
		return []byte(`"0001-01-01T00:00:00"`), nil
	}
	return d.Time.MarshalJSON()
}

// UnmarshalJSON takes all forms of times, also those without a zone.
func (d *DateTime) UnmarshalJSON(raw []byte) error {
	return hubproto.JSON.BindValue(raw, reflect.ValueOf(&d.Time).Elem())
}

// optional is nil for an empty string.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// joined is what the reference gives for a key of the query: all its values.
func joined(query url.Values, key string) string {
	var all []string
	for k, values := range query {
		if strings.EqualFold(k, key) {
			all = append(all, values...)
		}
	}
	return strings.Join(all, ",")
}
