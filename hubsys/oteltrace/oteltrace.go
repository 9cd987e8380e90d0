// Package oteltrace makes OpenTelemetry spans of the calls of hubs.
//
//	hubsys.HubOptions{Filters: []hubsys.Filter{oteltrace.Filter(otel.GetTracerProvider())}}
package oteltrace

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/troupe-go/troupe/hubsys"
)

// Filter returns a filter that makes a span of each call of a method, and of OnConnected, OnDisconnected, OnReconnected and OnAuthenticationRefreshed.
// Put first, it is around the other filters.
//
// Names and attributes are those of ASP.NET Core SignalR: a span is called hub/method, and has rpc.system, rpc.service, rpc.method and, if the call
// fails, error.type. Its parent is what the client has put into the headers of the hub message (traceparent, tracestate, baggage), as the .NET client
// does; it is linked to the trace of the request that has opened the connection. It ends when the call is over, so that of a stream with its last
// item; what fails behind the return of a stream is not seen. Calls that do not reach their method have no span.
func Filter(provider trace.TracerProvider) hubsys.Filter {
	tracer := provider.Tracer("github.com/troupe-go/troupe/hubsys/oteltrace")
	return func(next hubsys.Handler) hubsys.Handler {
		return hubsys.Handler{
			Invoke: func(ctx context.Context, in *hubsys.Invocation) (result any, err error) {
				s := start(ctx, tracer, in.Call(), trace.SpanKindServer)
				defer s.returned(&err)
				result, err = next.Invoke(s.ctx, in)
				s.finished = true
				return result, err
			},
			Connected: func(ctx context.Context) error { return around(ctx, tracer, next.Connected) },
			Disconnected: func(ctx context.Context, cause error) error {
				return around(ctx, tracer, func(ctx context.Context) error { return next.Disconnected(ctx, cause) })
			},
			Reconnected: func(ctx context.Context) error { return around(ctx, tracer, next.Reconnected) },
			Refreshed:   func(ctx context.Context) error { return around(ctx, tracer, next.Refreshed) },
		}
	}
}

// around runs a lifetime event in a span.
func around(ctx context.Context, tracer trace.Tracer, event func(context.Context) error) (err error) {
	call, ok := hubsys.CallFrom(ctx)
	if !ok {
		return event(ctx)
	}
	s := start(ctx, tracer, call, trace.SpanKindInternal)
	defer s.returned(&err)
	err = event(s.ctx)
	s.finished = true
	return err
}

// span is the span of a call.
type span struct {
	trace.Span
	ctx      context.Context
	finished bool // it has not panicked
}

func start(ctx context.Context, tracer trace.Tracer, call *hubsys.Call, kind trace.SpanKind) *span {
	options := []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(
		attribute.String("rpc.system", "signalr"), attribute.String("rpc.service", call.HubName()), attribute.String("rpc.method", call.Method()))}
	if request := trace.SpanContextFromContext(traceContext.Extract(context.Background(), headers(call.Request().Header))); request.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: request}))
	}
	s := &span{}
	s.ctx, s.Span = tracer.Start(traceContext.Extract(ctx, headers(call.Header)), call.HubName()+"/"+call.Method(), options...)
	call.Cleanup(func() { s.End() })
	return s
}

// returned notes how a call has ended. It is deferred, and does not recover panics.
func (s *span) returned(err *error) {
	switch {
	case !s.finished:
		s.fail("panic", "panic")
	case *err != nil:
		s.fail(fmt.Sprintf("%T", *err), (*err).Error())
	}
}

func (s *span) fail(kind, text string) {
	s.SetAttributes(attribute.String("error.type", kind))
	s.SetStatus(codes.Error, text)
}

var traceContext = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// headers are those that a client has sent.
type headers func(name string) string

// Get is part of propagation.TextMapCarrier.
func (h headers) Get(name string) string { return h(name) }

// Set is part of propagation.TextMapCarrier. It is not used.
func (headers) Set(string, string) {}

// Keys is part of propagation.TextMapCarrier. It is not used.
func (headers) Keys() []string { return nil }
