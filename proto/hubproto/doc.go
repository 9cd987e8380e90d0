// Package hubproto is the hub protocol of SignalR: the handshake, the hub messages, and the codecs that write and read them.
//
// A codec is a [Protocol]. It cuts a stream of bytes into records, parses the envelope of a record without looking into the
// application's values, and appends messages to buffers. Values are decoded later, when their types are known.
//
// The package knows nothing of connections, and holds no state except caches of types.
package hubproto
