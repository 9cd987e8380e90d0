package classic

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/classic"
)

func TestAnEmptyRing(t *testing.T) {
	r := ring{first: 1, messages: 3, size: 100}
	require.Zero(t, r.last())
	for _, number := range []uint64{0, 1} {
		messages, last := r.after(number, math.MaxUint64)
		require.Empty(t, messages)
		require.Equal(t, number, last)
	}
}

func TestOneFrameHasLimits(t *testing.T) {
	r := ring{first: 1, messages: 10_000, size: 10 << 20}
	for range mostMessages + 1 {
		r.push([]byte("1"), false)
	}
	messages, last := r.after(0, math.MaxUint64)
	require.Len(t, messages, mostMessages)
	require.EqualValues(t, mostMessages, last)
	messages, last = r.after(last, math.MaxUint64)
	require.Len(t, messages, 1)

	large := bytes.Repeat([]byte("x"), mostBytes+1)
	for range 2 {
		r.push(large, false)
	}
	r.push([]byte("1"), false)
	for range 2 {
		messages, last = r.after(last, math.MaxUint64)
		require.Equal(t, [][]byte{large}, messages, "a message that is too large for a frame with others has one of its own")
	}
	messages, _ = r.after(last, math.MaxUint64)
	require.Equal(t, [][]byte{[]byte("1")}, messages)
}

func TestTheNewestMessageIsKeptWhateverItsSize(t *testing.T) {
	r := ring{first: 1, messages: 3, size: 10}
	r.push([]byte("small"), false)
	r.push(bytes.Repeat([]byte("x"), 100), false)
	messages, last := r.after(0, math.MaxUint64)
	require.Len(t, messages, 1)
	require.Len(t, messages[0], 100)
	require.EqualValues(t, 2, last)
	require.EqualValues(t, 1, r.dropped)
	r.push([]byte("small"), false)
	messages, _ = r.after(0, math.MaxUint64)
	require.Equal(t, [][]byte{[]byte("small")}, messages)
	require.Equal(t, len("small"), r.bytes)
}

func TestWhereAClientGoesOn(t *testing.T) {
	r := ring{first: 1, messages: 2, size: 100}
	for range 5 {
		r.push([]byte("1"), false)
	}
	const epoch = 7
	for _, test := range []struct {
		name   string
		cursor classic.Cursor
		ok     bool
		want   uint64
	}{
		{"behind what it has seen", classic.Cursor{Epoch: epoch, Number: 4}, true, 4},
		{"at the end", classic.Cursor{Epoch: epoch, Number: 5}, true, 5},
		{"before what is kept", classic.Cursor{Epoch: epoch, Number: 0}, true, 0},
		{"without a cursor", classic.Cursor{Epoch: epoch}, false, 5},
		{"with one of another server", classic.Cursor{Epoch: epoch + 1, Number: 4}, true, 5},
		{"with one from the future", classic.Cursor{Epoch: epoch, Number: 6}, true, 5},
		{"with one that was made up", classic.Cursor{Epoch: epoch, Number: math.MaxUint64}, true, 5},
	} {
		require.Equal(t, test.want, r.position(test.cursor, epoch, test.ok), test.name)
	}
	messages, last := r.after(0, math.MaxUint64)
	require.Len(t, messages, 2, "what is no longer kept is left out")
	require.EqualValues(t, 5, last)
}

// ringModel is what a ring is, written down as simply as possible: all messages ever, and how many of the first have gone.
type ringModel struct {
	all  [][]byte
	gone int
}

func (m *ringModel) push(message []byte, messages, size int) {
	m.all = append(m.all, message)
	for len(m.all)-m.gone > messages || m.bytes() > size && len(m.all)-m.gone > 1 {
		m.gone++
	}
}

func (m *ringModel) bytes() (n int) {
	for _, message := range m.all[m.gone:] {
		n += len(message)
	}
	return n
}

// brief tells messages apart that are numbered, or of different lengths.
func brief(message []byte) string { return fmt.Sprintf("%.8s %d", message, len(message)) }

// visible returns the messages that follow a number, up to another one.
func (m *ringModel) visible(number, end uint64) []string {
	var texts []string
	for i, message := range m.all {
		if i >= m.gone && uint64(i) >= number && uint64(i) < end {
			texts = append(texts, brief(message))
		}
	}
	return texts
}

func TestTheRingIsLikeItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := ring{first: 1, messages: rapid.IntRange(1, 150).Draw(t, "messages"), size: rapid.SampledFrom([]int{1, 100, 5000, 10 * mostBytes}).Draw(t, "size")}
		m := &ringModel{}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "n") {
					message := []byte(fmt.Sprint(len(m.all)+1, " "))
					m.push(message, r.messages, r.size)
					r.push(message, false)
				}
			},
			"push a large one": func(t *rapid.T) {
				message := []byte(strings.Repeat("x", rapid.SampledFrom([]int{1, 99, 5001, mostBytes - 1, mostBytes, mostBytes + 1}).Draw(t, "bytes")))
				m.push(message, r.messages, r.size)
				r.push(message, false)
			},
			"read": func(t *rapid.T) {
				number := rapid.Uint64Range(0, uint64(len(m.all))+2).Draw(t, "behind")
				end := rapid.Uint64Range(number, uint64(len(m.all))+3).Draw(t, "up to")
				want := m.visible(number, end)
				var got []string
				for number < min(end, r.last()) {
					messages, last := r.after(number, end)
					require.Greater(t, last, number, "it goes on")
					require.LessOrEqual(t, last, r.last())
					size := 0
					for _, message := range messages {
						got, size = append(got, brief(message)), size+len(message)
					}
					require.LessOrEqual(t, len(messages), mostMessages)
					require.True(t, len(messages) <= 1 || size <= mostBytes)
					number = last
				}
				require.Equal(t, want, got)
				messages, last := r.after(number, end)
				require.Empty(t, messages)
				require.Equal(t, max(number, r.first-1), last)
			},
			"go on": func(t *rapid.T) {
				c := classic.Cursor{Epoch: rapid.Uint32Range(1, 2).Draw(t, "epoch"), Number: rapid.Uint64Range(0, uint64(len(m.all))+3).Draw(t, "number")}
				ok := rapid.Bool().Draw(t, "ok")
				want := uint64(len(m.all))
				if ok && c.Epoch == 1 && c.Number < want {
					want = c.Number
				}
				require.Equal(t, want, r.position(c, 1, ok))
			},
			"": func(t *rapid.T) {
				require.EqualValues(t, len(m.all), r.last())
				require.EqualValues(t, m.gone+1, r.first)
				require.Equal(t, m.bytes(), r.bytes)
				require.EqualValues(t, m.gone, r.dropped)
			},
		})
	})
}
