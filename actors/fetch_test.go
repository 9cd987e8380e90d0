package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestOutputIsFetchedInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		for i := range 3 {
			w.send(&Audience{}, "n", i)
		}
		w.settle()
		require.Equal(t, []string{told("n", 0), told("n", 1), told("n", 2)}, p.poll())
		require.Empty(t, p.poll())
		ended := p.all()
		w.settle()
		w.send(&Audience{}, "n", 3)
		w.settle()
		require.Equal(t, told("n", 3), p.records()[4])
		p.conn.Abort()
		w.settle()
		require.NoError(t, <-ended)
		require.Equal(t, `{"type":7}`, p.records()[5])
		require.Equal(t, lived("a", nil), w.handler.noted())
	})
}

func TestWhatIsNotDeliveredStaysPending(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		lost := errors.New("lost")
		w.send(&Audience{}, "n", 0)
		more, err := p.fetch(context.Background(), func([]byte, func(int)) error {
			w.send(&Audience{}, "n", 1) // meanwhile
			return lost
		})
		require.True(t, more)
		require.Equal(t, lost, err)
		require.Equal(t, []string{told("n", 0), told("n", 1)}, p.poll())

		w.send(&Audience{}, "n", 2)
		_, err = p.fetch(context.Background(), func([]byte, func(int)) error {
			p.conn.Abort() // behind what fails now
			return lost
		})
		require.Equal(t, lost, err)
		require.Equal(t, []string{told("n", 2), `{"type":7}`}, p.poll())
		more, err = p.fetch(context.Background(), p.keep)
		require.False(t, more)
		require.NoError(t, err)
		more, err = p.fetch(context.Background(), p.keep)
		require.False(t, more, "as often as one asks")
		require.NoError(t, err)
		p.Cut()
	})
}

// A poll whose time is over at the moment at which something comes leaves it to the next one.
func TestNothingIsLostBetweenPolls(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		for i := range 2000 {
			ctx, cancel := context.WithCancel(context.Background())
			var all sync.WaitGroup
			all.Go(func() {
				_, _ = p.fetch(ctx, func(b []byte, taken func(int)) error {
					if err := ctx.Err(); err != nil {
						return err
					}
					return p.keep(b, taken)
				})
			})
			all.Go(cancel)
			all.Go(func() { w.send(&Audience{}, "n", i) })
			all.Wait()
		}
		p.poll()
		records := p.records()[1:]
		require.Len(t, records, 2000)
		for i, record := range records {
			require.Equal(t, told("n", i), record)
		}
	})
}

func TestFetchModel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		id := 0
		w.property(func(t *rapid.T) {
			id++
			p := w.greet(fmt.Sprint("c", id), rapid.Bool().Draw(t, "polls"))
			me := &Audience{Kind: Connections, Names: []string{p.conn.id}}
			sent, sealed, ended := 0, false, false
			take := func(fail bool, during int) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				more, err := p.fetch(ctx, func(b []byte, taken func(int)) error {
					for range during {
						if !sealed {
							w.send(me, "n", sent)
							sent++
						}
					}
					if fail {
						return errCut
					}
					return p.keep(b, taken)
				})
				w.settle()
				if ended = ended || !more; !more {
					require.True(t, sealed)
					require.NoError(t, err)
				}
			}
			t.Repeat(map[string]func(*rapid.T){
				"send": func(*rapid.T) {
					if !sealed {
						w.send(me, "n", sent)
						sent++
					}
				},
				"call": func(*rapid.T) {
					if !sealed {
						p.write(call(fmt.Sprint(sent), "echo"))
						w.settle()
						sent++
					}
				},
				"fetch": func(t *rapid.T) {
					take(rapid.Bool().Draw(t, "fail"), rapid.IntRange(0, 3).Draw(t, "during"))
				},
				"settle": func(*rapid.T) { w.settle() },
				"abort": func(t *rapid.T) {
					if rapid.IntRange(0, 9).Draw(t, "abort") == 0 {
						p.conn.Abort()
						sealed = true
						w.settle()
					}
				},
			})
			if !sealed {
				p.conn.Abort()
				sealed = true
			}
			for !ended {
				take(false, 0)
			}
			records := p.records()[1:]
			require.Len(t, records, sent+1)
			require.Equal(t, `{"type":7}`, records[sent])
			for i, record := range records[:sent] {
				require.Contains(t, []string{told("n", i), result(fmt.Sprint(i), "[]")}, record)
			}
			pending, limited := p.conn.out.Pending()
			require.Zero(t, pending)
			require.Zero(t, limited)
			p.Cut()
			w.settle()
		})
	})
}

func TestTenThousandSendsToAClientThatPolls(t *testing.T) {
	for name, pause := range map[string]time.Duration{"at once": 0, "after a while": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.settings.OutboxLimit = 1 << 20
				p := w.greet("a", true)
				go func() {
					for {
						more, err := p.fetch(context.Background(), p.keep)
						if !more || err != nil {
							p.Cut()
							return
						}
						if pause > 0 {
							<-time.After(pause)
						}
					}
				}()
				text := strings.Repeat("x", 500)
				for i := range 10000 {
					require.NoError(t, w.hub.Send(context.Background(), &Audience{}, "n", []any{i, text}))
				}
				w.pass(second)
				records := p.records()[1:]
				require.Len(t, records, 10000)
				for i, record := range records {
					require.Equal(t, told("n", i, text), record)
				}
				p.conn.Abort()
			})
		})
	}
}

func TestBinaryOverWhatIsFetched(t *testing.T) {
	for _, polls := range []bool{true, false} {
		inBubbleOf(t, second, func(t *testing.T, w *world) {
			p := w.pull("a", polls)
			p.write(`{"protocol":"messagepack","version":1}`)
			w.settle()
			want := []string{"{}"}
			if !polls {
				want = []string{`{"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."}`}
			}
			require.Equal(t, want, p.poll())
			p.conn.Abort()
		}, hubproto.JSON, hubproto.MessagePack)
	}
}
