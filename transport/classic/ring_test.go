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
		messages, answer, last := r.after(number, nil)
		require.Empty(t, messages)
		require.Nil(t, answer)
		require.Equal(t, number, last)
	}
}

func TestOneFrameHasLimits(t *testing.T) {
	r := ring{first: 1, messages: 10_000, size: 10 << 20}
	for range mostMessages + 1 {
		r.push(entry{data: []byte("1")}, false)
	}
	messages, _, last := r.after(0, nil)
	require.Len(t, messages, mostMessages)
	require.EqualValues(t, mostMessages, last)
	messages, _, last = r.after(last, nil)
	require.Len(t, messages, 1)

	large := bytes.Repeat([]byte("x"), mostBytes+1)
	for range 2 {
		r.push(entry{data: large}, false)
	}
	r.push(entry{data: []byte("1")}, false)
	for range 2 {
		messages, _, last = r.after(last, nil)
		require.Equal(t, [][]byte{large}, messages, "a message that is too large for a frame with others has one of its own")
	}
	messages, _, _ = r.after(last, nil)
	require.Equal(t, [][]byte{[]byte("1")}, messages)
}

func TestTheNewestMessageIsKeptWhateverItsSize(t *testing.T) {
	r := ring{first: 1, messages: 3, size: 10}
	r.push(entry{data: []byte("small")}, false)
	r.push(entry{data: bytes.Repeat([]byte("x"), 100)}, false)
	messages, _, last := r.after(0, nil)
	require.Len(t, messages, 1)
	require.Len(t, messages[0], 100)
	require.EqualValues(t, 2, last)
	require.EqualValues(t, 1, r.dropped)
	r.push(entry{data: []byte("small")}, false)
	messages, _, _ = r.after(0, nil)
	require.Equal(t, [][]byte{[]byte("small")}, messages)
	require.Equal(t, len("small"), r.bytes)
}

func TestWhereAClientGoesOn(t *testing.T) {
	r := ring{first: 1, messages: 2, size: 100}
	for range 5 {
		r.push(entry{data: []byte("1")}, false)
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
	messages, _, last := r.after(0, nil)
	require.Len(t, messages, 2, "what is no longer kept is left out")
	require.EqualValues(t, 5, last)
}

// ringModel is what a ring is, written down as simply as possible: all entries ever, and how many of the first have gone.
type ringModel struct {
	all  []entry
	gone int
}

func (m *ringModel) push(e entry, messages, size int) {
	m.all = append(m.all, e)
	for len(m.all)-m.gone > messages || m.bytes() > size && len(m.all)-m.gone > 1 {
		m.gone++
	}
}

func (m *ringModel) bytes() (n int) {
	for _, e := range m.all[m.gone:] {
		n += len(e.data)
	}
	return n
}

// brief tells messages apart that are numbered, or of different lengths.
func brief(data []byte) string { return fmt.Sprintf("%.8s %d", data, len(data)) }

// visible returns what a receiver gets that goes on behind a number: messages as they are, answers with a mark.
func (m *ringModel) visible(number uint64, to *receiver) []string {
	var texts []string
	for i, e := range m.all {
		switch {
		case i < m.gone || uint64(i) < number:
		case e.answer == nil:
			texts = append(texts, brief(e.data))
		case e.answer == to:
			texts = append(texts, "answer "+brief(e.data))
		}
	}
	return texts
}

func TestTheRingIsLikeItsModel(t *testing.T) {
	receivers := []*receiver{nil, newReceiver(false), newReceiver(false)}
	rapid.Check(t, func(t *rapid.T) {
		r := ring{first: 1, messages: rapid.IntRange(1, 150).Draw(t, "messages"), size: rapid.SampledFrom([]int{1, 100, 5000, 10 * mostBytes}).Draw(t, "size")}
		m := &ringModel{}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				n := rapid.IntRange(1, 100).Draw(t, "n")
				to := rapid.SampledFrom(receivers).Draw(t, "to")
				for range n {
					text := fmt.Sprint(len(m.all)+1, " ")
					e := entry{data: []byte(text), answer: to}
					m.push(e, r.messages, r.size)
					r.push(e, false)
				}
			},
			"push a large one": func(t *rapid.T) {
				e := entry{data: []byte(strings.Repeat("x", rapid.SampledFrom([]int{1, 99, 5001, mostBytes - 1, mostBytes, mostBytes + 1}).Draw(t, "bytes")))}
				m.push(e, r.messages, r.size)
				r.push(e, false)
			},
			"read": func(t *rapid.T) {
				number := rapid.Uint64Range(0, uint64(len(m.all))+2).Draw(t, "behind")
				to := rapid.SampledFrom(receivers).Draw(t, "to")
				want := m.visible(number, to)
				var got []string
				for number < r.last() {
					messages, answer, last := r.after(number, to)
					require.Greater(t, last, number, "it goes on")
					require.LessOrEqual(t, last, r.last())
					size := 0
					for _, message := range messages {
						got, size = append(got, brief(message)), size+len(message)
					}
					require.LessOrEqual(t, len(messages), mostMessages)
					require.True(t, len(messages) == 1 || size <= mostBytes)
					if answer != nil {
						require.Empty(t, messages)
						got = append(got, "answer "+brief(answer))
					}
					number = last
				}
				require.Equal(t, want, got)
				messages, answer, last := r.after(number, to)
				require.Empty(t, messages)
				require.Nil(t, answer)
				require.Equal(t, number, last)
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
				dropped := 0
				for _, e := range m.all[:m.gone] {
					if e.answer == nil {
						dropped++
					}
				}
				require.Equal(t, m.bytes(), r.bytes)
				require.EqualValues(t, dropped, r.dropped)
			},
		})
	})
}
