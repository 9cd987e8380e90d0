package classic_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/proto/hubproto"
)

func addInvocations(f *testing.F) {
	for _, test := range validInvocations {
		f.Add([]byte(test.text))
	}
	for _, text := range invalidInvocations {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"h":"a","H":"b","m":"c","a":[1],"A":[2],"i":"\ud83d","s":{"a":[[[]]]}}`))
	f.Add([]byte(`{"H":"h","M":"m","A":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `,"I":{"a":1}}`))
}

func FuzzInvocation(f *testing.F) {
	addInvocations(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		before := string(text)
		in, err := classic.ParseInvocation(text)
		require.Equal(t, before, string(text))
		if err != nil {
			require.Zero(t, in)
			return
		}
		require.True(t, json.Valid(text))
		require.True(t, utf8.ValidString(in.Hub) && utf8.ValidString(in.Method))
		require.True(t, json.Valid(in.Arguments) && in.Arguments[0] == '[' && in.Arguments[len(in.Arguments)-1] == ']', "%s", in.Arguments)
		require.True(t, len(in.State) == 0 || json.Valid(in.State) && in.State[0] == '{', "%s", in.State)
		require.LessOrEqual(t, len(in.State), classic.MaxState)
		if in.ID != nil {
			require.LessOrEqual(t, len(*in.ID), 256)
			require.True(t, utf8.ValidString(*in.ID))
		}
		requireDecoded(t, text, &in)
	})
}

// requireDecoded compares a call with what encoding/json reads, unless a member is there several times.
func requireDecoded(t *testing.T, text []byte, in *classic.Invocation) {
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &members))
	folded := map[string]string{}
	for name, value := range members {
		if name = strings.ToLower(name); folded[name] != "" {
			return
		}
		folded[name] = string(value)
	}
	decoded := func(value string) (text string) {
		if value != "" {
			require.NoError(t, json.Unmarshal([]byte(value), &text))
		}
		return text
	}
	require.Equal(t, decoded(folded["h"]), in.Hub)
	require.Equal(t, decoded(folded["m"]), in.Method)
	if folded["a"] == "" || folded["a"] == "null" {
		folded["a"] = "[]"
	}
	require.Equal(t, folded["a"], string(in.Arguments))
	if strings.HasPrefix(folded["s"], "{") {
		require.Equal(t, folded["s"], string(in.State))
	} else {
		require.Empty(t, in.State)
	}
	switch id := folded["i"]; {
	case id == "" || id == "null":
		require.Nil(t, in.ID)
	case id[0] == '"':
		require.Equal(t, decoded(id), *in.ID)
	default:
		require.Equal(t, id, *in.ID)
	}
}

// A record gives back what went in, and the answer to it has the id of the call.
func FuzzRecord(f *testing.F) {
	addInvocations(f)
	p := classic.NewProtocol("Hub")
	f.Fuzz(func(t *testing.T, text []byte) {
		in, err := classic.ParseInvocation(text)
		if err != nil {
			return
		}
		record := classic.AppendCall(nil, []byte("42"), in.Hub, &in)
		n, err := p.Next(record, 0, 0)
		require.NoError(t, err)
		require.Len(t, record, n, "%q is no single record", record)
		var m hubproto.Message
		require.NoError(t, p.Parse(record, &m))
		number, id, hasID := bytes.Cut(m.ID, []byte{' '})
		require.Equal(t, "42", string(number))
		require.Equal(t, in.ID != nil, hasID)
		if in.ID != nil {
			require.Equal(t, *in.ID, string(id))
		}
		require.Equal(t, in.Method, string(m.Target))
		require.Equal(t, string(in.Arguments), string(m.Arguments))
		hub, method, state := classic.Headers(m.Headers)
		require.Equal(t, in.Hub, hub)
		require.Equal(t, in.Method, method)
		require.Equal(t, string(in.State), string(state))

		var elements []json.RawMessage
		require.NoError(t, json.Unmarshal(m.Arguments, &elements))
		require.Equal(t, len(elements), p.CountArguments(m.Arguments))
		values := make([]any, len(elements))
		params := make([]reflect.Value, len(elements))
		for i := range params {
			params[i] = reflect.ValueOf(&values[i]).Elem()
		}
		if p.BindArguments(m.Arguments, params) == nil {
			var want []any
			require.NoError(t, json.Unmarshal(m.Arguments, &want))
			require.Len(t, values, len(want))
		}

		answer, err := p.AppendResult(nil, m.ID, in.Method)
		require.NoError(t, err)
		n, err = p.Next(answer, 0, 0)
		require.NoError(t, err)
		require.Len(t, answer, n)
		object, ok := strings.CutPrefix(strings.TrimSuffix(string(answer), separator), "R42 ")
		require.True(t, ok)
		var read struct {
			R string
			I *string
		}
		require.NoError(t, json.Unmarshal([]byte(object), &read))
		require.Equal(t, in.Method, read.R)
		require.Equal(t, in.ID, read.I)
	})
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		``, `[]`, `null`, `[{"name":"chathub"},{"Name":"Other"}]`, `[{name:'a'}]`, `[{'name':'a"b\'c\\'}]`, `[{"name":"\u0061"}]`, `[{"name":"a"},{"name":"A"}]`,
		`[{"name":"a`, `[{'name':'a\`, `[{name`, `"\`, `'`, `[{$:true,_:null,name:false}]`, "[{\"name\":\"\xff\"}]", `[{é:1}]`, `{}`, `[1,"a",[]]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		names, err := classic.Names(text)
		var strict []struct{ Name string }
		if json.Unmarshal([]byte(text), &strict) != nil || len(strict) == 0 {
			return // it may have been read leniently
		}
		var want []string
		twice := false
		for _, hub := range strict {
			for _, other := range want {
				twice = twice || strings.EqualFold(other, hub.Name)
			}
			want = append(want, hub.Name)
		}
		require.Equal(t, twice, err != nil, "%v", err)
		if !twice {
			require.Equal(t, want, names)
		}
	})
}

func FuzzCursor(f *testing.F) {
	for _, seed := range []string{
		"", "d-00000000-0", "d-AB0B44B6-1F", "d-ab0b44b6-1f", "d-FFFFFFFF-FFFFFFFFFFFFFFFF", "d-AB0B44B6-0000000000000001", "d-AB0B44B6-C,0|D,0|E,1", "d--", "d-+0000000-1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := classic.ParseCursor(text)
		if !ok {
			return
		}
		require.True(t, strings.HasPrefix(text, "d-") && len(text) <= 27)
		again, ok := classic.ParseCursor(c.String())
		require.True(t, ok)
		require.Equal(t, c, again)
		e := classic.Envelope{Cursor: c}
		require.True(t, json.Valid(e.Append(nil)))
	})
}
