package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// aroundSends makes a filter of a function that gets the next SendFunc.
func aroundSends(f func(ctx context.Context, out *hubsys.Outgoing, next hubsys.SendFunc) error) func(hubsys.SendFunc) hubsys.SendFunc {
	return func(next hubsys.SendFunc) hubsys.SendFunc {
		return func(ctx context.Context, out *hubsys.Outgoing) error { return f(ctx, out, next) }
	}
}

// notingSends makes a filter that records what is sent.
func notingSends(n *notes, name string) func(hubsys.SendFunc) hubsys.SendFunc {
	return aroundSends(func(ctx context.Context, out *hubsys.Outgoing, next hubsys.SendFunc) error {
		n.add("%s>%s%v to %s, invoke: %v", name, out.Method, out.Args, out.To(), out.IsInvoke())
		defer n.add("%s<", name)
		return next(ctx, out)
	})
}

func newSendServer(t *testing.T, defaults, own []func(hubsys.SendFunc) hubsys.SendFunc) *testServer {
	t.Helper()
	return newTestServer(t, testConfig{Config: hubsys.Config{HubDefaults: hubsys.HubOptions{SendFilters: defaults}}, HubOptions: hubsys.HubOptions{SendFilters: own}})
}

type sendFilters = []func(hubsys.SendFunc) hubsys.SendFunc

func TestTheFirstSendFilterIsTheOutermostAndThoseOfTheDefaultsAreAroundThem(t *testing.T) {
	n := &notes{}
	srv := newSendServer(t, sendFilters{notingSends(n, "a"), notingSends(n, "b")}, sendFilters{notingSends(n, "c")})
	c := dial(t, srv.url)
	require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "m", 1, "two"))
	c.requireInvocation("m", 1, "two")
	require.Equal(t, []string{
		"a>m[1 two] to all, invoke: false", "b>m[1 two] to all, invoke: false", "c>m[1 two] to all, invoke: false", "c<", "b<", "a<",
	}, n.take())
}

func TestASendFilterChangesWhatIsSent(t *testing.T) {
	srv := newSendServer(t, nil, sendFilters{aroundSends(func(ctx context.Context, out *hubsys.Outgoing, next hubsys.SendFunc) error {
		switch out.Method {
		case "changed":
			out.Method, out.Args = "other", append(out.Args, "appended")
		case "twice":
			if err := next(ctx, out); err != nil {
				return err
			}
		case "dropped":
			return nil
		case "vetoed":
			return hubsys.Errorf("not this")
		}
		return next(ctx, out)
	})})
	c := dial(t, srv.url)
	all := srv.hub.Clients().All()
	require.NoError(t, all.Send(t.Context(), "changed", 1))
	require.NoError(t, all.Send(t.Context(), "twice", 2))
	require.NoError(t, all.Send(t.Context(), "dropped"))
	var veto *hubsys.HubError
	require.ErrorAs(t, all.Send(t.Context(), "vetoed"), &veto)
	require.Equal(t, "not this", veto.Message)
	require.NoError(t, all.Send(t.Context(), "last"))
	c.requireInvocation("other", 1, "appended")
	c.requireInvocation("twice", 2)
	c.requireInvocation("twice", 2)
	c.requireInvocation("last")
	require.Error(t, all.Send(t.Context(), "plain", func() {})) // the error of the innermost SendFunc
}

func TestASendFilterOfAVetoFailsTheMethodThatSends(t *testing.T) {
	srv := newSendServer(t, nil, sendFilters{aroundSends(func(context.Context, *hubsys.Outgoing, hubsys.SendFunc) error { return hubsys.Errorf("not this") })})
	srv.handle("send", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return nil, h.Clients().Caller().Send(ctx, "m")
	})
	c := dial(t, srv.url)
	require.Equal(t, "An unexpected error occurred invoking 'Do' on the server. HubException: not this", c.invokeError("Do", "send", []any{}))
	c.requireNoMessages()
}

func TestOutgoingDescribesEveryAudience(t *testing.T) {
	n := &notes{}
	srv := newSendServer(t, nil, sendFilters{notingSends(n, "")})
	var ids []string
	srv.handle("send", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		own, to := h.Call().ConnectionID(), h.Clients()
		ids = append(ids, own)
		var errs []error
		for _, r := range []hubsys.Receiver{to.Caller(), to.Others(), to.OthersInGroup("g"), to.All(), to.Client("c").NoWait(), to.OthersInGroup("g").Except("x", "y")} {
			errs = append(errs, r.Send(ctx, "m"))
		}
		return own, errors.Join(errs...)
	})
	c := dial(t, srv.url)
	own := strings.Trim(c.do("send"), `"`)
	to := srv.hub.Clients()
	for _, r := range []hubsys.Receiver{
		to.All(), to.All().NoWait(), to.AllExcept("a", "b"), to.Client("c"), to.Clients("c", "d"), to.Clients(), to.Group("g"), to.GroupExcept("g", "c"), to.Groups("g", "h"),
		to.User("u"), to.Users("u", `v "w"`), to.Users("u").Except("c"),
	} {
		require.NoError(t, r.Send(t.Context(), "m"))
	}
	var got []string
	for _, note := range n.take() {
		if who, ok := strings.CutPrefix(note, ">m[] to "); ok {
			got = append(got, strings.TrimSuffix(who, ", invoke: false"))
		}
	}
	require.Equal(t, []string{
		"caller", `all except ["` + own + `"]`, `groups ["g"] except ["` + own + `"]`, "all", `connections ["c"]`, `groups ["g"] except ["x" "y" "` + own + `"]`,
		"all", "all", `all except ["a" "b"]`, `connections ["c"]`, `connections ["c" "d"]`, "connections", `groups ["g"]`, `groups ["g"] except ["c"]`, `groups ["g" "h"]`,
		`users ["u"]`, `users ["u" "v \"w\""]`, `users ["u"] except ["c"]`,
	}, got)
}

func TestSendFiltersSeeWhatIsInvoked(t *testing.T) {
	n := &notes{}
	srv := newSendServer(t, nil, sendFilters{notingSends(n, "a"), aroundSends(func(ctx context.Context, out *hubsys.Outgoing, next hubsys.SendFunc) error {
		if slices.Contains(out.Args, any("veto")) {
			return hubsys.Errorf("not this")
		}
		out.Method, out.Args = "ask", append(out.Args, "appended")
		if err := next(ctx, out); err != nil {
			return err
		}
		n.add("answered")
		return nil
	})})
	c, id := dialWithID(t, srv.url, nil)
	client := srv.hub.Clients().Client(id)

	answer := invokeAsync[int](t.Context(), client, 1)
	c.send(resultCompletion(c.requireAsk(1, "appended"), 5))
	require.Equal(t, invokeResult[int]{value: 5}, receive(t, answer))

	results := make(chan invokeResult[string], 1)
	go func() {
		value, err := typed.Func2[int, string, string]("typed").Invoke(t.Context(), client, 1, "two")
		results <- invokeResult[string]{value, err}
	}()
	c.send(resultCompletion(c.requireAsk(1, "two", "appended"), "typed result"))
	require.Equal(t, invokeResult[string]{value: "typed result"}, receive(t, results))

	answer = invokeAsync[int](t.Context(), client, 2)
	c.send(errorCompletion(c.requireAsk(2, "appended"), "no idea"))
	require.EqualError(t, receive(t, answer).err, "no idea")

	_, err := hubsys.Invoke[int](t.Context(), client, "m", "veto")
	require.EqualError(t, err, "not this")
	require.NoError(t, typed.Message1[int]("message").Send(t.Context(), client, 3))
	c.requireInvocation("ask", 3, "appended")

	to := ` to connections ["` + id + `"], invoke: `
	require.Equal(t, []string{
		"a>ask[1]" + to + "true", "answered", "a<", "a>typed[1 two]" + to + "true", "answered", "a<", "a>ask[2]" + to + "true", "a<",
		"a>m[veto]" + to + "true", "a<", "a>message[3]" + to + "false", "answered", "a<",
	}, n.take())
}

func TestASendFilterThatDropsAnInvokeMakesItFail(t *testing.T) {
	srv := newSendServer(t, nil, sendFilters{aroundSends(func(context.Context, *hubsys.Outgoing, hubsys.SendFunc) error { return nil })})
	_, id := dialWithID(t, srv.url, nil)
	_, err := hubsys.Invoke[int](t.Context(), srv.hub.Clients().Client(id), "m")
	require.EqualError(t, err, `hubsys: a filter has not passed on the call of "m", so there is no result`)
}

func TestResultsAndItemsDoNotPassThroughSendFilters(t *testing.T) {
	n := &notes{}
	c, _ := dialFiltered(t, hubsys.HubOptions{SendFilters: sendFilters{notingSends(n, "a")}})
	c.invoke("Add", 1, 2)
	c.send(streamInvocation("1", "Count", nil, 2))
	c.awaitCompletion("1")
	require.Empty(t, n.take())
}
