package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A client that makes up names of methods, where the hub takes any, writes no more into the log than one that calls a method again and again.
func TestFailuresOfMethodsThatClientsMakeUp(t *testing.T) {
	log := &logRecorder{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger()})
	hub, err := hubsys.RegisterHandler(sys, hubsys.Handler{Invoke: func(_ context.Context, in *hubsys.Invocation) (any, error) {
		switch {
		case in.Method() == "ready":
			return nil, nil
		case strings.HasPrefix(in.Method(), "panic"):
			panic("no such script")
		}
		return nil, errors.New("no such file")
	}}, hubsys.HubOptions{Name: "scripts", Methods: []hubsys.Method{{Name: "known"}}})
	require.NoError(t, err)
	c := dial(t, serve(t, sys, hub))
	long := strings.Repeat("x", 1000)
	for i := range 150 {
		c.invokeError(fmt.Sprint("fail", i, long))
		c.invokeError(fmt.Sprint("panic", i, long))
	}
	require.Equal(t, 100, strings.Count(log.String(), "no such file"))
	require.Equal(t, 10, strings.Count(log.String(), "no such script"))
	require.NotContains(t, log.String(), long)
	c.invokeError("known")
	require.Equal(t, 101, strings.Count(log.String(), "no such file"), "methods that the hub has named are counted apart")
}

// carelessHub has methods and a Close that fail whenever a client calls.
type carelessHub struct{ hubsys.Hub }

func (*carelessHub) Echo(v any) any                            { return v }
func (*carelessHub) Refused()                                  {}
func (*carelessHub) Nil() iter.Seq2[int, error]                { return nil }
func (*carelessHub) Close() error                              { return errors.New("no disk") }
func panickingPolicy(context.Context, *hubsys.Principal) error { panic("no database") }

func TestWhatClientsCauseDoesNotFloodTheLog(t *testing.T) {
	log := &logRecorder{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger()})
	refused := hubsys.Method{Func: (*carelessHub).Refused, Policy: panickingPolicy}
	hub, err := hubsys.Register[*carelessHub](sys, nil, hubsys.HubOptions{Methods: []hubsys.Method{refused}})
	require.NoError(t, err)
	c := dial(t, serve(t, sys, hub))
	for range 150 {
		c.invoke("Echo", 1)
		c.invokeError("Refused")
		c.send(streamInvocation("s", "Nil", nil))
		c.awaitCompletion("s")
	}
	for _, text := range []string{`Close failed" hub=carelessHub connection=\S+ method=Echo `, "a policy panicked", "returned no stream"} {
		require.Len(t, regexp.MustCompile(text).FindAllString(log.String(), -1), 100, text)
	}
}
