package main

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
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

// orEmpty takes null for an empty text.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// given does something with a text that the reference's program cannot be without, and fails as it does where there is null.
func given(name string, text *string, do func(string) error) error {
	if text == nil {
		return missing(name)
	}
	return do(*text)
}

func missing(name string) error {
	return fmt.Errorf("Value cannot be null. (Parameter '%s')", name) //nolint:staticcheck // the reference's words
}

// joined is what the reference makes of the values of a key in a query: those that are not empty, or null if the key is not there.
func joined(query url.Values, key string) *string {
	var all []string
	found := false
	for k, values := range query {
		if strings.EqualFold(k, key) {
			found = true
			all = append(all, slices.DeleteFunc(values, func(value string) bool { return value == "" })...)
		}
	}
	if !found {
		return nil
	}
	return new(strings.Join(all, ","))
}

// cookie is what the reference makes of a cookie: the last one by this name, whatever its case, with its quotes, decoded. One that is
// empty, or has what does not belong into a cookie, is none.
func cookie(headers []string, name string) *string {
	var found *string
	for _, c := range (&http.Request{Header: http.Header{"Cookie": headers}}).Cookies() {
		if !strings.EqualFold(c.Name, name) || c.Value == "" || strings.ContainsAny(c.Value, " ,") {
			continue
		}
		value := c.Value
		if decoded, err := url.PathUnescape(value); err == nil {
			value = decoded
		}
		if c.Quoted {
			value = `"` + value + `"`
		}
		found = &value
	}
	return found
}
