package actors

import (
	"errors"

	"github.com/troupe-go/troupe/internal/link"
)

// ConnectSubscriber opens a connection to a function of this program. Its handshake can ask for JSON whatever the hub offers to clients. To metrics it
// has no transport.
func (h *Hub) ConnectSubscriber(id string, who *Identity, fetcher link.Fetcher, settings *Settings) (*Connection, error) {
	c := h.newConnection(id, who, settings)
	c.subscriber = true
	return c, h.sys.connect(c, func() { c.out.AttachFetcher(fetcher) })
}

// ErrNotSupported says that there are no client results: the client speaks SignalR 2, or is a subscriber.
var ErrNotSupported = errors.New("hubsys: clients of SignalR 2 and subscribers cannot be asked for results")

// hasResults reports whether the client can be asked for results.
func (c *Connection) hasResults() bool { return c.part == nil && !c.subscriber }
