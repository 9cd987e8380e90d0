package classic

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// MaxState is how many characters the state may have that a client sends with a call.
const MaxState = 4096

// Invocation is a call of a hub method.
type Invocation struct {
	Hub, Method string // as the client has written them
	Arguments   []byte // a JSON array
	State       []byte // a JSON object; empty: there is none
	ID          *string
}

// ErrState says that the state of a call is too long.
var ErrState = fmt.Errorf("the state of a call has more than %d characters", MaxState)

// ParseInvocation reads what a client sends to call a hub method. The arguments and the state are parts of text.
func ParseInvocation(text []byte) (in Invocation, err error) {
	if err = hubproto.EachMember(text, in.read); err != nil {
		return Invocation{}, err
	}
	if in.Arguments == nil {
		in.Arguments = []byte("[]")
	}
	return in, nil
}

// read takes a member of the object that a client sends. As in Json.NET, the case of its name does not matter.
func (in *Invocation) read(name, value []byte) (err error) {
	if len(name) != 1 {
		return nil
	}
	isNull := value[0] == 'n'
	switch name[0] | 0x20 {
	case 'h':
		in.Hub, err = text(value)
	case 'm':
		in.Method, err = text(value)
	case 'a':
		if value[0] != '[' && !isNull {
			return errors.New("the arguments of a call are no array")
		}
		if in.Arguments = value; isNull {
			in.Arguments = nil
		}
	case 's':
		if utf8.RuneCount(value) > MaxState {
			return ErrState
		}
		if in.State = value; value[0] != '{' {
			in.State = nil
		}
	case 'i':
		in.ID, err = readID(value)
	}
	return err
}

// readID reads the id of a call, which is a text or a number. Without an id, it is nil.
func readID(value []byte) (*string, error) {
	id := string(value)
	switch value[0] {
	case 'n':
		return nil, nil
	case '"':
		var err error
		if id, err = text(value); err != nil {
			return nil, err
		}
	}
	if len(id) > 256 || strings.ContainsAny(id, "\x1e\x1f") {
		return nil, errors.New("the id of a call has more than 256 bytes, or control characters")
	}
	return &id, nil
}

// text reads a JSON string, or null as an empty one.
func text(value []byte) (string, error) {
	if plain, ok := hubproto.Unquote(value); ok {
		return string(plain), nil
	}
	var text string
	err := json.Unmarshal(value, &text) // half a surrogate pair becomes U+FFFD
	return text, err
}

// mostHubs is how many hubs a client may list.
const mostHubs = 100

// Names reads connectionData: the hubs that a client has listed. As Json.NET does, it takes names without quotes or in single quotes.
func Names(connectionData string) ([]string, error) {
	if strings.TrimSpace(connectionData) == "" {
		return nil, nil
	}
	var hubs []struct{ Name string }
	if err := json.Unmarshal([]byte(strict(connectionData)), &hubs); err != nil {
		return nil, fmt.Errorf("connectionData is no list of hubs: %w", err)
	}
	if len(hubs) > mostHubs {
		return nil, fmt.Errorf("connectionData lists %d hubs, more than %d", len(hubs), mostHubs)
	}
	names := make([]string, len(hubs))
	for i, hub := range hubs {
		names[i] = hub.Name
		for _, other := range names[:i] {
			if strings.EqualFold(other, hub.Name) {
				return nil, fmt.Errorf("connectionData lists the hub %q twice", hub.Name)
			}
		}
	}
	return names, nil
}

// doubleQuoted turns what stands in single quotes into what stands in double ones.
var doubleQuoted = strings.NewReplacer(`\\`, `\\`, `\'`, `'`, `\"`, `\"`, `"`, `\"`)

// strict returns a text with keys that have double quotes, and single quotes replaced by double ones.
func strict(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"' || c == '\'':
			end := i + 1
			for end < len(text) && text[end] != c {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end, len(text))
			out.WriteByte('"')
			if c == '"' {
				out.WriteString(text[i+1 : end])
			} else {
				out.WriteString(doubleQuoted.Replace(text[i+1 : end]))
			}
			if end < len(text) {
				out.WriteByte('"')
			}
			i = end + 1
		case c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			end := i
			for end < len(text) && (text[end] == '_' || text[end] == '$' || text[end] >= '0' && text[end] <= '9' || text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z') {
				end++
			}
			word := text[i:end]
			if word == "null" || word == "true" || word == "false" {
				out.WriteString(word)
			} else {
				out.WriteString(`"` + word + `"`)
			}
			i = end
		default:
			out.WriteByte(c)
			i++
		}
	}
	return out.String()
}
