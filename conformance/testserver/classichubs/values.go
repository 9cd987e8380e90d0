package classichubs

import (
	"encoding/json"
	"time"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// Colour is an enumeration.
type Colour int

// Values are values of all kinds.
type Values struct {
	When   time.Time
	Id     string
	Bytes  []byte
	Number float64
	Big    int64
	Colour Colour
	Span   hubproto.TimeSpan
	Null   *string
	Maybe  *int
	Money  json.Number
	Flag   bool
}

func (h *TestHub) MakeValues() Values {
	return Values{
		When: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), Id: "11112222-3333-4444-5555-666677778888", Bytes: []byte{1, 2, 255}, Number: 1, Big: 9007199254740993,
		Colour: 2, Span: hubproto.TimeSpan(1500 * time.Millisecond), Money: "1.10", Flag: true,
	}
}

func (h *TestHub) EchoValues(v Values) Values { return v }
