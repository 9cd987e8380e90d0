package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/troupe-go/troupe/hubsys"
)

// FileHub is a hub whose errors are looked at by a filter.
type FileHub struct{ hubsys.Hub }

// Read fails.
func (h *FileHub) Read(name string) (string, error) {
	return "", fmt.Errorf("%s: %w", name, os.ErrNotExist)
}

// A filter sees the errors of all methods, as OnIncomingError does in SignalR 2. It can report them, and tell the client something else.
func ExampleFilter_errorHook() {
	onError := func(next hubsys.Handler) hubsys.Handler {
		invoke := next.Invoke
		next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			result, err := invoke(ctx, in)
			if err != nil {
				fmt.Printf("%s%q: %v\n", in.Method(), in.Args(), err)
			}
			if errors.Is(err, os.ErrNotExist) {
				err = &hubsys.HubError{Message: "there is no such file", Err: err}
			}
			return result, err
		}
		return next
	}
	sys := must(hubsys.New(hubsys.Config{HubDefaults: hubsys.HubOptions{Filters: []hubsys.Filter{onError}}}))
	must(hubsys.Register[*FileHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "fileHub")
	fmt.Println(page.invoke("fileHub.read", "a.txt"))
	// Output:
	// Read["a.txt"]: a.txt: file does not exist
	// there is no such file
}
