package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// puller is the peer of a connection whose output is fetched, and its transport.
type puller struct {
	w     *world
	conn  *Connection
	turn  chan struct{} // for one goroutine at a time, see client
	polls bool
	deaf  bool // Cut does not end a fetch

	mu     sync.Mutex
	over   bool
	cancel context.CancelCauseFunc // of the fetch that runs
	got    []byte
}

func (p *puller) Polls() bool { return p.polls }

func (p *puller) Cut() {
	p.mu.Lock()
	first := !p.over
	p.over = true
	cancel := p.cancel
	p.mu.Unlock()
	if !first {
		return
	}
	if cancel != nil && !p.deaf {
		cancel(errCut)
	}
	if p.conn != nil {
		p.conn.End(nil)
	}
}

// pull opens a connection that has not said anything yet.
func (w *world) pull(id string, polls bool) *puller {
	w.t.Helper()
	p := &puller{w: w, polls: polls, turn: make(chan struct{}, 1)}
	settings := w.settings
	var err error
	p.conn, err = w.hub.ConnectFetcher(id, "", p, &settings, nil)
	require.NoError(w.t, err)
	w.t.Cleanup(p.Cut)
	return p
}

// greet opens a connection that has shaken hands, and fetches the answer.
func (w *world) greet(id string, polls bool) *puller {
	w.t.Helper()
	p := w.pull(id, polls)
	p.write(`{"protocol":"json","version":1}`)
	w.settle()
	require.Equal(w.t, []string{"{}"}, p.poll())
	return p
}

func (p *puller) write(records ...string) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	b := []byte(strings.Join(records, "\x1e") + "\x1e")
	for len(b) > 0 {
		n := copy(p.conn.Buffer(), b)
		p.conn.Commit(n)
		b = b[n:]
	}
}

var errCut = errors.New("the request was cut")

// fetch takes output once, and passes it to take. It returns false at the end of all output.
func (p *puller) fetch(ctx context.Context, take func(b []byte, taken func(int)) error) (more bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.cancel = cancel
	p.mu.Unlock()
	out, err := p.conn.Take(ctx)
	if err != nil {
		if err == io.EOF {
			return false, nil
		}
		return true, err
	}
	delivered := false
	defer func() { out.Done(delivered) }()
	err = take(slices.Concat(out.Messages()...), out.Advance)
	delivered = err == nil
	return true, err
}

// keep takes everything.
func (p *puller) keep(b []byte, taken func(int)) error {
	taken(len(b))
	p.mu.Lock()
	p.got = append(p.got, b...)
	p.mu.Unlock()
	return nil
}

// poll takes what is there, without waiting.
func (p *puller) poll() []string {
	p.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p.mu.Lock()
	before := len(p.got)
	p.mu.Unlock()
	_, _ = p.fetch(ctx, p.keep)
	p.w.settle()
	p.mu.Lock()
	defer p.mu.Unlock()
	return cut(p.w.t, p.got[before:])
}

// cut cuts whole messages apart.
func cut(t require.TestingT, b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	require.Equal(t, byte(0x1e), b[len(b)-1], "half a message: %.100q", b)
	return strings.Split(string(b[:len(b)-1]), "\x1e")
}

// all fetches until the end, in the background.
func (p *puller) all() (ended chan error) {
	ended = make(chan error, 1)
	go func() {
		for {
			more, err := p.fetch(context.Background(), p.keep)
			if !more || err != nil {
				ended <- err
				p.Cut()
				return
			}
		}
	}()
	return ended
}

func (p *puller) records() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cut(p.w.t, slices.Clone(p.got))
}

// slow is the cause of a connection whose outbox was full.
func (w *world) slow() error {
	return fmt.Errorf("%w of %d bytes", ErrSlowClient, w.settings.OutboxLimit)
}

func lived(id string, cause error) []string {
	return []string{"connected " + id, fmt.Sprintf("disconnected %s: %v", id, cause)}
}

// ---- nothing is lost

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

// ---- times

func TestAClientThatDoesNotPollAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		w.pass(15 * second)
		require.Len(t, w.handler.noted(), 1)
		w.pass(2 * second)
		require.Equal(t, lived("a", nil), w.handler.noted())
		more, err := p.fetch(context.Background(), p.keep)
		require.False(t, more)
		require.NoError(t, err)
	})
}

func TestAClientThatDoesNotPollAgainWhileSomethingWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.greet("a", true)
		w.send(&Audience{}, "n", 1)
		w.pass(15 * second)
		require.Len(t, w.handler.noted(), 1, "the time to send is not that of a client that is away")
		w.pass(2 * second)
		require.Equal(t, lived("a", nil), w.handler.noted())
	})
}

// A client that finds something with each poll is there all the time, though no poll waits when the heart beats.
func TestAClientWhosePollsNeverWait(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		w.pass(50 * time.Millisecond) // between two beats
		for i := range 600 {
			w.send(&Audience{}, "n", i)
			require.Equal(t, []string{told("n", i)}, p.poll(), "after %d ms", i*100)
			w.pass(100 * time.Millisecond)
		}
		require.Len(t, w.handler.noted(), 1)
	})
}

func TestAPollThatWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		ended := p.all()
		w.pass(10 * 60 * second)
		require.Len(t, w.handler.noted(), 1)
		require.Len(t, p.records(), 1, "no pings")
		p.conn.Abort()
		require.NoError(t, <-ended)
	})
}

// Who polls need not ping, even if it has done so once.
func TestAClientThatPollsIsNotTimedOut(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		p.write(ping)
		ended := p.all()
		w.pass(120 * second)
		require.Len(t, w.handler.noted(), 1)
		p.conn.Abort()
		require.NoError(t, <-ended)
	})
}

func TestPingsOfAnEventStream(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", false)
		ended := p.all()
		w.pass(46 * second)
		require.Equal(t, []string{"{}", ping, ping, ping}, p.records())
		p.write(ping)
		w.pass(40 * second)
		require.Equal(t, lived("a", ErrClientTimeout), w.handler.noted())
		require.NoError(t, <-ended)
		records := p.records()
		require.Equal(t, `{"type":7,"error":"`+connectedText+" Error: "+ErrClientTimeout.Error()+`","allowReconnect":true}`, records[len(records)-1])
	})
}

func TestOutputThatIsNotTaken(t *testing.T) {
	for _, polls := range []bool{true, false} {
		inBubble(t, func(t *testing.T, w *world) {
			p := w.greet("a", polls)
			w.send(&Audience{}, "n", 1)
			ended := make(chan error, 1)
			go func() {
				_, err := p.fetch(context.Background(), func([]byte, func(int)) error {
					<-p.conn.Done()
					return errCut
				})
				ended <- err
			}()
			w.pass(10 * second)
			require.Len(t, w.handler.noted(), 1)
			w.pass(2 * second)
			require.Equal(t, lived("a", ErrSendTimeout), w.handler.noted())
			require.Equal(t, errCut, <-ended)
		})
	}
}

func TestOutputThatIsTakenSlowly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", false)
		w.send(&Audience{}, "n", 1)
		ended := make(chan error, 1)
		go func() {
			_, err := p.fetch(context.Background(), func(_ []byte, taken func(int)) error {
				for range 10 {
					<-time.After(8 * second)
					taken(1)
				}
				return nil
			})
			ended <- err
		}()
		w.pass(81 * second)
		require.NoError(t, <-ended)
		require.Len(t, w.handler.noted(), 1)
	})
}

// pace takes bytes at a rate, as a socket does.
func (p *puller) pace(perSecond int) func(b []byte, taken func(int)) error {
	return func(b []byte, taken func(int)) error {
		for len(b) > 0 {
			n := min(len(b), perSecond/100)
			select {
			case <-time.After(second / 100):
			case <-p.conn.Done():
				return errCut
			}
			if err := p.keep(b[:n], taken); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	}
}

// A client that takes more than half a limit's worth a second is not too slow, whatever carries its messages.
func TestALoopOfLargeSendsToAClientThatMoves(t *testing.T) {
	const rate = 640 << 10
	for name, open := range map[string]func(w *world){
		"socket": func(w *world) {
			c := w.open("a", "", linktest.Full)
			go func() {
				for !c.socket.IsCut() && !c.socket.IsFinished() {
					<-time.After(second / 100)
					c.socket.Drain(rate / 100)
				}
			}()
		},
		"polls":  func(w *world) { go w.greet("a", true).take(rate) },
		"events": func(w *world) { go w.greet("a", false).take(rate) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.settings.OutboxLimit = 1 << 20
				open(w)
				text := strings.Repeat("x", 700<<10)
				for i := range 10 {
					require.NoError(t, w.hub.Send(context.Background(), &Audience{}, "n", []any{i, text}))
					w.settle()
					require.Empty(t, w.handler.noted()[1:], "message %d", i)
				}
				w.pass(5 * second)
				w.sys.connections.find("a").Abort()
				w.pass(second)
				require.Equal(t, lived("a", nil), w.handler.noted())
			})
		})
	}
}

// take fetches at a rate until the end.
func (p *puller) take(perSecond int) {
	for {
		more, err := p.fetch(context.Background(), p.pace(perSecond))
		if !more || err != nil {
			p.Cut()
			return
		}
	}
}

// ---- the limit

func TestNobodyPollsAndTheOutboxIsFull(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		w.open("b", "")
		w.open("c", "")
		start := time.Now()
		text := strings.Repeat("x", 1000)
		for range 100 {
			w.send(&Audience{}, "n", text)
		}
		w.settle()
		require.Contains(t, w.handler.noted(), lived("a", w.slow())[1])
		require.LessOrEqual(t, time.Since(start), 2*second, "senders do not wait for long")
		more, err := p.fetch(context.Background(), p.keep)
		require.False(t, more)
		require.NoError(t, err)
		require.Len(t, p.records(), 1)
	})
}

// A poll may come while the message that was too much is still being sent to others.
func TestAPollBehindAFullOutbox(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		for i := 0; ; i++ {
			if p.conn.out.Push(note(0, i, 1000), true, false) == outbox.Overflow {
				break
			}
		}
		more, err := p.fetch(context.Background(), p.keep)
		require.NoError(t, err)
		if !more {
			p.Cut() // as a poll does that is answered with 204
		}
		p.conn.overflowed()
		w.settle()
		require.Equal(t, lived("a", w.slow()), w.handler.noted())
	})
}

// ---- the end

func TestLeave(t *testing.T) {
	for _, test := range []struct {
		name  string
		cause error
		last  string
	}{
		{"between messages", nil, `{"type":7,"allowReconnect":true}`},
		{"in a message", errCut, `{"type":7,"error":"` + connectedText + " Error: " + errCut.Error() + `","allowReconnect":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				p := w.greet("a", true)
				ended := p.all()
				w.settle()
				p.conn.Leave(test.cause)
				w.settle()
				require.NoError(t, <-ended)
				require.Equal(t, []string{"{}", test.last}, p.records())
				require.Equal(t, lived("a", test.cause), w.handler.noted())
			})
		})
	}
}

// Before the handshake there is nothing to be said (spec §3.4).
func TestLeaveBeforeTheHandshake(t *testing.T) {
	for _, err := range []error{nil, errCut} {
		inBubble(t, func(t *testing.T, w *world) {
			p := w.pull("a", true)
			ended := p.all()
			w.settle()
			p.conn.Leave(err)
			w.settle()
			require.NoError(t, <-ended)
			require.Empty(t, p.records(), "%v", err)
			require.Empty(t, w.handler.noted())
		})
	}
}

// A client that polls may be away for awayLimit: until then it can fetch what was said last.
func TestAClientThatDoesNotFetchTheClose(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		p.conn.Abort()
		w.settle()
		require.Equal(t, lived("a", nil), w.handler.noted())
		w.pass(awayLimit - 2*second)
		over := func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.over }
		require.False(t, over())
		w.pass(4 * second)
		require.True(t, over())
		require.Zero(t, w.sys.alive.Get())
	})
}

func TestHandshakeTimeoutOfAClientThatPolls(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.pull("a", true)
		ended := p.all()
		w.pass(17 * second)
		require.NoError(t, <-ended)
		require.Equal(t, []string{`{"error":"Handshake was canceled."}`}, p.records())
		require.Zero(t, w.sys.alive.Get())
	})
}

// Nothing can be fetched any more behind End, and nobody waits for it.
func TestEndReleasesAFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		p.deaf = true
		ctx, cancel := context.WithTimeout(context.Background(), 60*second)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := p.fetch(ctx, p.keep)
			ended <- err
		}()
		w.settle()
		p.conn.End(nil)
		require.NotErrorIs(t, <-ended, context.DeadlineExceeded)
	})
}

func TestTheActorOfAClientThatPollsIsStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		ended := p.all()
		w.settle()
		w.sys.actors.Root.Stop(p.conn.PID())
		w.settle()
		require.Equal(t, errCut, <-ended)
		require.Equal(t, lived("a", errActorStopped), w.handler.noted())
		require.Zero(t, w.sys.alive.Get())
	})
}

func TestShutdownAndClientsThatFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		waiting, stream, away := w.greet("a", true), w.greet("b", false), w.greet("c", true)
		ended, streamed := waiting.all(), stream.all()
		w.settle()
		start := time.Now()
		require.ErrorContains(t, w.shutdown(), "1 connections cut off")
		require.LessOrEqual(t, time.Since(start), 5*second)
		require.NoError(t, <-ended)
		require.NoError(t, <-streamed)
		for _, p := range []*puller{waiting, stream} {
			require.Equal(t, []string{"{}", `{"type":7,"allowReconnect":true}`}, p.records())
		}
		require.True(t, away.over)
	})
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
