package main

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/troupe-go/troupe/hubsys/typed"
)

var ask = typed.Func1[*string, *string]("Ask")

func (h *TestHub) AskClient(ctx context.Context, id, question *string) (answer *string, err error) {
	err = given("connectionId", id, func(id string) (err error) {
		answer, err = ask.Invoke(ctx, h.Clients().Client(id), question)
		return err
	})
	return answer, err
}

func (h *TestHub) AskCaller(ctx context.Context, question *string) (*string, error) {
	return ask.Invoke(ctx, h.Clients().Caller(), question)
}

func (h *TestHub) Stream() <-chan string {
	c := make(chan string, 3)
	c <- "a"
	c <- "b"
	c <- "c"
	close(c)
	return c
}

func (h *TestHub) EmptyStream() <-chan int32 {
	c := make(chan int32)
	close(c)
	return c
}

func (h *TestHub) StreamThrowException(message *string) (<-chan string, error) {
	return nil, failure(message)
}

func (h *TestHub) Counter(ctx context.Context, n, delayMs int32) iter.Seq2[int32, error] {
	return func(yield func(int32, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
			if delayMs > 0 {
				select {
				case <-time.After(time.Duration(delayMs) * time.Millisecond):
				case <-ctx.Done():
					yield(0, context.Cause(ctx))
					return
				}
			}
		}
	}
}

func (h *TestHub) InfiniteStream(ctx context.Context) <-chan int32 {
	c := make(chan int32)
	go func() {
		defer close(c)
		defer events.Store("infinite", "cancelled")
		for i := int32(0); ; i++ {
			select {
			case c <- i:
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

func (h *TestHub) UploadStream(items iter.Seq2[string, error]) (string, error) {
	var all strings.Builder
	for item, err := range items {
		if err != nil {
			return "", err
		}
		all.WriteString(item)
	}
	return all.String(), nil
}

func (h *TestHub) UploadSum(ctx context.Context, start int32, items <-chan int32) (int32, error) {
	for item := range items {
		start += item
	}
	return start, context.Cause(ctx)
}

func (h *TestHub) StreamEcho(items iter.Seq2[string, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for item, err := range items {
			if !yield("echo:"+item, err) {
				return
			}
		}
	}
}
