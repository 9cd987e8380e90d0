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
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		for i := range 3 {
			e.send(&Audience{}, "n", i)
		}
		e.settle()
		require.Equal(t, []string{invocationRecord("n", 0), invocationRecord("n", 1), invocationRecord("n", 2)}, f.poll())
		require.Empty(t, f.poll())
		ended := f.fetchAll()
		e.settle()
		e.send(&Audience{}, "n", 3)
		e.settle()
		require.Equal(t, invocationRecord("n", 3), f.records()[4])
		f.conn.Abort()
		e.settle()
		require.NoError(t, <-ended)
		require.Equal(t, `{"type":7}`, f.records()[5])
		require.Equal(t, lifetimeEvents("a", nil), e.handler.events())
	})
}

func TestUndeliveredOutputStaysPending(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		lost := errors.New("lost")
		e.send(&Audience{}, "n", 0)
		more, err := f.fetch(context.Background(), func([]byte, func(int)) error {
			e.send(&Audience{}, "n", 1) // while the output is delivered
			return lost
		})
		require.True(t, more)
		require.Equal(t, lost, err)
		require.Equal(t, []string{invocationRecord("n", 0), invocationRecord("n", 1)}, f.poll())

		e.send(&Audience{}, "n", 2)
		_, err = f.fetch(context.Background(), func([]byte, func(int)) error {
			f.conn.Abort() // after the output whose delivery fails
			return lost
		})
		require.Equal(t, lost, err)
		require.Equal(t, []string{invocationRecord("n", 2), `{"type":7}`}, f.poll())
		more, err = f.fetch(context.Background(), f.collect)
		require.False(t, more)
		require.NoError(t, err)
		more, err = f.fetch(context.Background(), f.collect)
		require.False(t, more, "repeatedly")
		require.NoError(t, err)
		f.Cut()
	})
}

// If a poll times out at the moment at which a message is sent, the next poll receives the message.
func TestNothingIsLostWhenPollTimesOut(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		for i := range 2000 {
			ctx, cancel := context.WithCancel(context.Background())
			var all sync.WaitGroup
			all.Go(func() {
				_, _ = f.fetch(ctx, func(b []byte, taken func(int)) error {
					if err := ctx.Err(); err != nil {
						return err
					}
					return f.collect(b, taken)
				})
			})
			all.Go(cancel)
			all.Go(func() { e.send(&Audience{}, "n", i) })
			all.Wait()
		}
		f.poll()
		records := f.records()[1:]
		require.Len(t, records, 2000)
		for i, record := range records {
			require.Equal(t, invocationRecord("n", i), record)
		}
	})
}

func TestFetchModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		id := 0
		e.checkProperty(func(t *rapid.T) {
			id++
			f := e.openFetcher(fmt.Sprint("c", id), rapid.Bool().Draw(t, "polls"))
			me := &Audience{Kind: Connections, Names: []string{f.conn.id}}
			sent, sealed, ended := 0, false, false
			take := func(fail bool, during int) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				more, err := f.fetch(ctx, func(b []byte, taken func(int)) error {
					for range during {
						if !sealed {
							e.send(me, "n", sent)
							sent++
						}
					}
					if fail {
						return errCut
					}
					return f.collect(b, taken)
				})
				e.settle()
				if ended = ended || !more; !more {
					require.True(t, sealed)
					require.NoError(t, err)
				}
			}
			t.Repeat(map[string]func(*rapid.T){
				"send": func(*rapid.T) {
					if !sealed {
						e.send(me, "n", sent)
						sent++
					}
				},
				"call": func(*rapid.T) {
					if !sealed {
						f.send(call(fmt.Sprint(sent), "echo"))
						e.settle()
						sent++
					}
				},
				"fetch": func(t *rapid.T) {
					take(rapid.Bool().Draw(t, "fail"), rapid.IntRange(0, 3).Draw(t, "during"))
				},
				"settle": func(*rapid.T) { e.settle() },
				"abort": func(t *rapid.T) {
					if rapid.IntRange(0, 9).Draw(t, "abort") == 0 {
						f.conn.Abort()
						sealed = true
						e.settle()
					}
				},
			})
			if !sealed {
				f.conn.Abort()
				sealed = true
			}
			for !ended {
				take(false, 0)
			}
			records := f.records()[1:]
			require.Len(t, records, sent+1)
			require.Equal(t, `{"type":7}`, records[sent])
			for i, record := range records[:sent] {
				require.Contains(t, []string{invocationRecord("n", i), result(fmt.Sprint(i), "[]")}, record)
			}
			pending, limited := f.conn.out.Pending()
			require.Zero(t, pending)
			require.Zero(t, limited)
			f.Cut()
			e.settle()
		})
	})
}

func TestManySendsToPollingClient(t *testing.T) {
	for name, pause := range map[string]time.Duration{"at once": 0, "after a while": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.OutboxLimit = 1 << 20
				f := e.openFetcher("a", true)
				go func() {
					for {
						more, err := f.fetch(context.Background(), f.collect)
						if !more || err != nil {
							f.Cut()
							return
						}
						if pause > 0 {
							<-time.After(pause)
						}
					}
				}()
				text := strings.Repeat("x", 500)
				for i := range 10000 {
					require.NoError(t, e.hub.Send(context.Background(), &Audience{}, "n", []any{i, text}))
				}
				e.sleep(second)
				records := f.records()[1:]
				require.Len(t, records, 10000)
				for i, record := range records {
					require.Equal(t, invocationRecord("n", i, text), record)
				}
				f.conn.Abort()
			})
		})
	}
}

func TestBinaryProtocolOnFetchTransports(t *testing.T) {
	for _, polls := range []bool{true, false} {
		inBubbleWith(t, second, func(t *testing.T, e *env) {
			f := e.connectFetcher("a", polls)
			f.send(`{"protocol":"messagepack","version":1}`)
			e.settle()
			want := []string{"{}"}
			if !polls {
				want = []string{
					`{"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."}`,
				}
			}
			require.Equal(t, want, f.poll())
			f.conn.Abort()
		}, hubproto.JSON, hubproto.MessagePack)
	}
}
