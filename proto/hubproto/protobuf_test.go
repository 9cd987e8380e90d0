package hubproto_test

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-go/troupe/proto/hubproto"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

func namesMessage(names ...string) *troupev1.Names { return &troupev1.Names{Names: names} }

func structMessage(t require.TestingT, fields map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(fields)
	require.NoError(t, err)
	return s
}

// protoCases are values with messages, and their JSON.
func protoCases(t require.TestingT) map[string]struct {
	value any
	json  string
} {
	at := timestamppb.New(time.Date(2024, 5, 6, 7, 8, 9, 5e8, time.UTC))
	send := &troupev1.Send{To: &troupev1.Send_Groups{Groups: namesMessage("g")}, Except: []string{"a", "b"}, Target: "receive"}
	return map[string]struct {
		value any
		json  string
	}{
		"fields":        {namesMessage("a", `"ä"`), `{"names":["a","\"ä\""]}`},
		"oneof":         {send, `{"groups":{"names":["g"]},"except":["a","b"],"target":"receive"}`},
		"empty":         {&troupev1.Names{}, `{}`},
		"emptypb":       {&emptypb.Empty{}, `{}`},
		"nil":           {(*troupev1.Names)(nil), `null`},
		"timestamp":     {at, `"2024-05-06T07:08:09.500Z"`},
		"duration":      {durationpb.New(1500 * time.Millisecond), `"1.500s"`},
		"struct":        {structMessage(t, map[string]any{"A": 1.5, "b": []any{"x", true, nil}}), `{"A":1.5,"b":["x",true,null]}`},
		"value":         {structpb.NewStringValue("v"), `"v"`},
		"null value":    {structpb.NewNullValue(), `null`},
		"large integer": {wrapperspb.UInt64(math.MaxUint64), `"18446744073709551615"`},
		"bytes":         {wrapperspb.Bytes([]byte{1, 2, 255}), `"AQL/"`},
		"list":          {[]*troupev1.Names{namesMessage("a"), nil, {}}, `[{"names":["a"]},null,{}]`},
		"list of any":   {[]any{namesMessage("a"), 1, at}, `[{"names":["a"]},1,"2024-05-06T07:08:09.500Z"]`},
		"map":           {map[string]*troupev1.Names{"k": namesMessage("a")}, `{"k":{"names":["a"]}}`},
		"interface":     {[]proto.Message{namesMessage("a"), at, nil}, `[{"names":["a"]},"2024-05-06T07:08:09.500Z",null]`},
		"pointer":       {pointer(namesMessage("a")), `{"names":["a"]}`},
		"array of structs": {[1]struct {
			N *troupev1.Names `json:"n"`
			M *troupev1.Names `json:"m,omitempty"`
		}{{N: namesMessage("a")}}, `[{"n":{"names":["a"]}}]`},
	}
}

func TestProtobufMessagesAreWrittenAsTheirJSON(t *testing.T) {
	for name, test := range protoCases(t) {
		assert.Equal(t, test.json, encoded(t, test.value), name)
	}
}

// plainOf returns what a hub without types would get of the result in a MessagePack completion.
func plainOf(t require.TestingT, v any) any {
	record, err := hubproto.MessagePack.AppendResult(nil, []byte("1"), v)
	require.NoError(t, err)
	var m hubproto.Message
	require.NoError(t, hubproto.MessagePack.Parse(record, &m))
	var plain any
	require.NoError(t, hubproto.MessagePack.BindValue(m.Value, reflect.ValueOf(&plain).Elem()))
	return plain
}

func TestProtobufMessagesHaveOneStructureInBothProtocols(t *testing.T) {
	for name, test := range protoCases(t) {
		text, err := json.Marshal(plainOf(t, test.value))
		require.NoError(t, err)
		assert.JSONEq(t, test.json, string(text), name)
	}
}

func TestTheJSONOfProtobufMessagesDoesNotVary(t *testing.T) {
	send := &troupev1.Send{To: &troupev1.Send_Groups{Groups: namesMessage("a", "b")}, Except: []string{"a", "b"}, Target: "t"}
	want := encoded(t, send)
	require.NotContains(t, want, " ")
	for range 20 {
		require.Equal(t, want, encoded(t, send))
	}
}

// bindBoth binds a JSON argument, and the same as MessagePack.
func bindBoth(t require.TestingT, argument string, typ reflect.Type) (fromJSON, fromPack any, jsonErr, packErr error) {
	fromJSON, jsonErr = bind(argument, typ)
	record, err := hubproto.MessagePack.AppendInvocation(nil, nil, "m", []any{json.RawMessage(argument)})
	require.NoError(t, err)
	var m hubproto.Message
	require.NoError(t, hubproto.MessagePack.Parse(record, &m))
	v := reflect.New(typ).Elem()
	packErr = hubproto.MessagePack.BindArguments(m.Arguments, []reflect.Value{v})
	return fromJSON, v.Interface(), jsonErr, packErr
}

func requireSameMessages(t require.TestingT, want, got any) {
	if wanted, ok := want.(proto.Message); ok {
		require.IsType(t, want, got)
		require.Equal(t, reflect.ValueOf(want).IsNil(), reflect.ValueOf(got).IsNil())
		require.True(t, proto.Equal(wanted, got.(proto.Message)), "%v, not %v", got, want)
		return
	}
	list, other := reflect.ValueOf(want), reflect.ValueOf(got)
	require.Equal(t, list.IsNil(), other.IsNil())
	require.Equal(t, list.Len(), other.Len())
	for i := range list.Len() {
		requireSameMessages(t, list.Index(i).Interface(), other.Index(i).Interface())
	}
}

func TestProtobufMessagesAreRead(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 8, 9, 5e8, time.UTC)
	for name, test := range map[string]struct {
		argument string
		want     any
	}{
		"fields":                  {`{"names":["a","ä\n"]}`, namesMessage("a", "ä\n")},
		"oneof":                   {`{"users":{"names":["u"]},"target":"t"}`, &troupev1.Send{To: &troupev1.Send_Users{Users: namesMessage("u")}, Target: "t"}},
		"unknown fields":          {`{"other":{"a":[null]},"names":["a"]}`, namesMessage("a")},
		"null for a field":        {`{"names":null}`, &troupev1.Names{}},
		"empty":                   {`{}`, &troupev1.Names{}},
		"null":                    {`null`, (*troupev1.Names)(nil)},
		"timestamp":               {`"2024-05-06T09:08:09.5+02:00"`, timestamppb.New(at)},
		"duration":                {`"-1.5s"`, durationpb.New(-1500 * time.Millisecond)},
		"struct":                  {`{"a":1.5,"b":["x",true,null,{}]}`, structMessage(t, map[string]any{"a": 1.5, "b": []any{"x", true, nil, map[string]any{}}})},
		"value":                   {`[1,"a"]`, structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewNumberValue(1), structpb.NewStringValue("a")}})},
		"integer as text":         {`"18446744073709551615"`, wrapperspb.UInt64(math.MaxUint64)},
		"integer as a number":     {`18446744073709551615`, wrapperspb.UInt64(math.MaxUint64)},
		"bytes":                   {`"AQL/"`, wrapperspb.Bytes([]byte{1, 2, 255})},
		"list":                    {`[{"names":["a"]},null,{}]`, []*troupev1.Names{namesMessage("a"), nil, {}}},
		"empty list":              {`[]`, []*troupev1.Names{}},
		"null for a list":         {`null`, []*troupev1.Names(nil)},
		"names as in proto files": {`{"uint64Value":"1"}`, structMessage(t, map[string]any{"uint64Value": "1"})},
	} {
		fromJSON, fromPack, err, packErr := bindBoth(t, test.argument, reflect.TypeOf(test.want))
		require.NoError(t, err, name)
		require.NoError(t, packErr, name)
		requireSameMessages(t, test.want, fromJSON)
		requireSameMessages(t, test.want, fromPack)
	}
}

func TestValuesThatDoNotFitProtobufMessagesAreRefused(t *testing.T) {
	names, list, at := reflect.TypeFor[*troupev1.Names](), reflect.TypeFor[[]*troupev1.Names](), reflect.TypeFor[*timestamppb.Timestamp]()
	for _, test := range []struct {
		argument string
		typ      reflect.Type
	}{
		{`1`, names}, {`"a"`, names}, {`[]`, names}, {`{"names":"a"}`, names}, {`{"names":[1]}`, names}, {`{"names":[null]}`, names}, {`{}`, list}, {`"a"`, list}, {`[1]`, list}, {`[{"names":1}]`, list},
		{`"today"`, at}, {`5`, at}, {`{"seconds":1}`, at}, {`"x"`, reflect.TypeFor[*durationpb.Duration]()}, {`-1`, reflect.TypeFor[*wrapperspb.UInt32Value]()}, {`[]`, reflect.TypeFor[*structpb.Struct]()},
	} {
		_, _, err, packErr := bindBoth(t, test.argument, test.typ)
		require.Contains(t, causeOf(requireBindError(t, err, errorBinding)).Error(), "argument 1 does not fit "+test.typ.String(), test.argument)
		require.Contains(t, causeOf(requireBindError(t, packErr, errorBinding)).Error(), "argument 1 does not fit "+test.typ.String(), test.argument)
	}
}

func TestPackedBytesAndTimesFitProtobufMessages(t *testing.T) {
	for what, test := range map[string]struct{ value, want any }{
		"bytes":     {[]byte{1, 2, 255}, wrapperspb.Bytes([]byte{1, 2, 255})},
		"timestamp": {time.Date(2024, 5, 6, 7, 8, 9, 5e8, time.UTC), timestamppb.New(time.Date(2024, 5, 6, 7, 8, 9, 5e8, time.UTC))},
	} {
		record, err := hubproto.MessagePack.AppendInvocation(nil, nil, "m", []any{test.value})
		require.NoError(t, err)
		var m hubproto.Message
		require.NoError(t, hubproto.MessagePack.Parse(record, &m))
		v := reflect.New(reflect.TypeOf(test.want)).Elem()
		require.NoError(t, hubproto.MessagePack.BindArguments(m.Arguments, []reflect.Value{v}), what)
		requireSameMessages(t, test.want, v.Interface())
	}
}

func TestItemsAndArgumentsCanBeProtobufMessages(t *testing.T) {
	for _, p := range []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack} {
		record, err := p.AppendItem(nil, []byte("1"), namesMessage("a"))
		require.NoError(t, err)
		var m hubproto.Message
		require.NoError(t, p.Parse(record, &m))
		var item *troupev1.Names
		require.NoError(t, p.BindValue(m.Value, reflect.ValueOf(&item).Elem()))
		requireSameMessages(t, namesMessage("a"), item)

		record, err = p.AppendInvocation(nil, nil, "receive", []any{namesMessage("a"), 1, []*troupev1.Names{namesMessage("b")}})
		require.NoError(t, err)
		require.NoError(t, p.Parse(record, &m))
		var n int
		var list []*troupev1.Names
		item = nil
		require.NoError(t, p.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&item).Elem(), reflect.ValueOf(&n).Elem(), reflect.ValueOf(&list).Elem()}))
		requireSameMessages(t, namesMessage("a"), item)
		requireSameMessages(t, []*troupev1.Names{namesMessage("b")}, list)
	}
}

func TestProtobufMessagesThatCannotBeWritten(t *testing.T) {
	for what, v := range map[string]any{
		"a timestamp that is out of range": &timestamppb.Timestamp{Seconds: math.MaxInt64},
		"invalid UTF-8":                    namesMessage("\xff"),
		"a value without a kind":           &structpb.Value{},
		"NaN in a value":                   structpb.NewNumberValue(math.NaN()),
	} {
		for _, p := range []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack} {
			dst := []byte("before")
			got, err := p.AppendResult(dst, []byte("1"), []any{v})
			require.Error(t, err, what)
			require.Equal(t, "before", string(got), what)
		}
	}
}

type ownJSON struct{ *troupev1.Names }

func (ownJSON) MarshalJSON() ([]byte, error) { return []byte(`"own"`), nil }

func TestAMarshalerOfATypeWithAMessageCounts(t *testing.T) {
	require.Equal(t, `"own"`, encoded(t, ownJSON{namesMessage("a")}))
	require.Equal(t, "own", plainOf(t, ownJSON{namesMessage("a")}))
}

func TestTypesWithProtobufMessagesThatAreRefused(t *testing.T) {
	type outer struct{ Names *troupev1.Names }
	type byValue struct{ Names troupev1.Names }
	const value = "troupev1.Names is a protobuf message: use *troupev1.Names"
	const nested = "the protobuf message *troupev1.Names is read as a parameter or an item of its own, or in a list, but not inside of another type"
	for _, test := range []struct {
		typ            reflect.Type
		encode, decode string // empty: accepted
	}{
		{reflect.TypeFor[*troupev1.Names](), "", ""},
		{reflect.TypeFor[[]*troupev1.Names](), "", ""},
		{reflect.TypeFor[troupev1.Names](), value, value},
		{reflect.TypeFor[[]troupev1.Names](), "in []troupev1.Names: " + value, "in []troupev1.Names: " + value},
		{reflect.TypeFor[byValue](), "in hubproto_test.byValue, field Names: " + value, "in hubproto_test.byValue, field Names: " + value},
		{reflect.TypeFor[outer](), "", "in hubproto_test.outer, field Names: " + nested},
		{reflect.TypeFor[*outer](), "", "in *hubproto_test.outer: in hubproto_test.outer, field Names: " + nested},
		{reflect.TypeFor[map[string]*troupev1.Names](), "", "in map[string]*troupev1.Names: " + nested},
		{reflect.TypeFor[[][]*troupev1.Names](), "", "in [][]*troupev1.Names: in []*troupev1.Names: " + nested},
		{reflect.TypeFor[[2]*troupev1.Names](), "", "in [2]*troupev1.Names: " + nested},
		{reflect.TypeFor[**troupev1.Names](), "", "in **troupev1.Names: " + nested},
		{reflect.TypeFor[proto.Message](), "", "nothing can be bound to the interface protoreflect.ProtoMessage"},
	} {
		for _, check := range []struct {
			err  error
			want string
		}{{hubproto.CheckEncodable(test.typ), test.encode}, {hubproto.CheckBindable(test.typ), test.decode}} {
			if check.want == "" {
				assert.NoError(t, check.err, test.typ)
			} else {
				assert.EqualError(t, check.err, check.want, test.typ)
			}
		}
	}
}
