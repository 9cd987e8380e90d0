package actors

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// call returns an invocation of a hub method. It has no invocation id if id is empty.
func call(id, target string, args ...any) string {
	b, err := json.Marshal(args)
	if args == nil {
		b = []byte("[]")
	}
	if err != nil {
		panic(err)
	}
	if id != "" {
		id = `,"invocationId":"` + id + `"`
	}
	return fmt.Sprintf(`{"type":1%s,"target":%q,"arguments":%s}`, id, target, b)
}

// cancel returns a CancelInvocation.
func cancel(id string) string { return fmt.Sprintf(`{"type":5,"invocationId":%q}`, id) }

const ping = `{"type":6}`

// result returns a completion with a result.
func result(id, value string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"result":%s}`, id, value)
}

// failure returns a completion with an error.
func failure(id, text string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"error":%q}`, id, text)
}

// invocationRecord returns the invocation that a client receives for a Send.
func invocationRecord(target string, args ...any) string {
	b, err := hubproto.JSON.AppendInvocation(nil, nil, target, args)
	if err != nil {
		panic(err)
	}
	return string(b[:len(b)-1])
}

// uploadCall returns an invocation with client-to-server streams.
func uploadCall(id, target string, streams ...string) string {
	return withStreamIDs(call(id, target), streams)
}

// withStreamIDs adds stream ids to an invocation.
func withStreamIDs(record string, streams []string) string {
	return strings.TrimSuffix(record, "}") + `,"streamIds":["` + strings.Join(streams, `","`) + `"]}`
}

// uploadItem returns an item of a client-to-server stream.
func uploadItem(stream string, value any) string {
	return fmt.Sprintf(`{"type":2,"invocationId":%q,"item":"%v"}`, stream, value)
}

// uploadEnd returns the completion of a client-to-server stream.
func uploadEnd(stream string) string { return fmt.Sprintf(`{"type":3,"invocationId":%q}`, stream) }

// streamCall returns a stream invocation, optionally with client-to-server streams.
func streamCall(id, target string, streams ...string) string {
	record := strings.Replace(call(id, target), `"type":1`, `"type":4`, 1)
	if len(streams) > 0 {
		record = withStreamIDs(record, streams)
	}
	return record
}

// streamItem returns an item of a server-to-client stream.
func streamItem(id string, value any) string {
	return fmt.Sprintf(`{"type":2,"invocationId":%q,"item":%v}`, id, value)
}

// askInvocation returns the invocation that a client receives for an Invoke.
func askInvocation(id string) string {
	return fmt.Sprintf(`{"type":1,"invocationId":%q,"target":"question","arguments":[]}`, id)
}

// notePacket returns an invocation of "note" with the number of its sender, its sequence number n, and size bytes of padding.
func notePacket(sender, n, size int) *outbox.Packet {
	b, _ := hubproto.JSON.AppendInvocation(outbox.Buffer(64), nil, "note", []any{sender, n, strings.Repeat("x", size)})
	return outbox.NewPacket(b, wsframe.Text, true)
}

// pendingBytes returns the number of bytes in the outbox of the connection.
func pendingBytes(c *client) int {
	bytes, _ := c.conn.out.Pending()
	return bytes
}

// noteNumbers parses invocations of "note". It returns the sequence numbers of each sender in order of arrival.
func noteNumbers(t require.TestingT, records []string) map[int][]int {
	numbers := map[int][]int{}
	for _, record := range records {
		var sender, n int
		if _, err := fmt.Sscanf(record, `{"type":1,"target":"note","arguments":[%d,%d,`, &sender, &n); err != nil {
			if _, err := fmt.Sscanf(record, `{"type":3,"invocationId":"%d/%d"`, &sender, &n); err != nil {
				require.Failf(t, "unexpected record", "%.200s", record)
			}
		}
		numbers[sender] = append(numbers[sender], n)
	}
	return numbers
}

// without returns the records that differ from out.
func without(records []string, out string) (rest []string) {
	for _, record := range records {
		if record != out {
			rest = append(rest, record)
		}
	}
	return rest
}

// jsonText returns s as a JSON string without the quotes.
func jsonText(s string) string {
	b, _ := hubproto.JSON.AppendResult(nil, nil, s)
	return string(b[len(`{"type":3,"result":"`) : len(b)-len("\"}\x1e")])
}
