package hubsys

import (
	"context"
	"errors"
	"reflect"

	"github.com/troupe-go/troupe/actors"
)

// Progress is the last parameter of a method that tells clients of SignalR 2 how far it is. Clients do not give it. Other clients are not told.
type Progress[T any] struct{ call *actors.Call }

var errCallReturned = errors.New("hubsys: progress of a call was reported that has returned")

// Report sends a value to the client that has made the call, behind what was sent to it before, and before the result. It waits for room, for
// as long as ctx allows.
func (p Progress[T]) Report(ctx context.Context, value T) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.call == nil:
		return errors.New("hubsys: a Progress is given by the hub")
	case p.call.Err() != nil:
		return errCallReturned
	case classicProtocol(p.call) == nil || len(p.call.ID()) == 0:
		return nil
	}
	item, err := classicProtocol(p.call).AppendProgress(nil, p.call.ID(), value, stateChanges(p.call))
	if err != nil {
		return err
	}
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.call, cancel)()
	switch {
	case p.call.SendItemWithin(wait, item):
		return nil
	case ctx.Err() != nil && p.call.Err() == nil:
		return context.Cause(ctx)
	}
	return errCallReturned
}

func (p *Progress[T]) setCall(k *actors.Call) { p.call = k }

// progress is implemented by pointers to Progress.
type progress interface{ setCall(k *actors.Call) }

var progressType = reflect.TypeFor[progress]()

// isProgress reports whether t is a Progress.
func isProgress(t reflect.Type) bool { return reflect.PointerTo(t).Implements(progressType) }

// setProgress says which call parameters of type Progress belong to.
func (f *callArgs) setProgress(k *actors.Call) {
	for _, p := range f.progress {
		p.Addr().Interface().(progress).setCall(k)
	}
}
