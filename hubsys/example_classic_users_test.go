package hubsys_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/troupe-go/troupe/hubsys"
)

// MailHub is a hub for users who have logged in.
type MailHub struct{ hubsys.Hub }

// Send sends to all connections of a user.
func (h *MailHub) Send(ctx context.Context, to, text string) error {
	return h.Clients().User(to).Send(ctx, "mail", h.Call().UserID(), text)
}

// Authenticate says who a user is, by name or, as here, by another id, as an IUserIdProvider does in SignalR 2.
func ExampleClassicOptions_authenticate() {
	numbers := map[string]string{"ada": "1001", "bob": "1002"}
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*MailHub](sys, nil, hubsys.HubOptions{Policy: hubsys.RequireUser}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{
		Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			session, err := r.Cookie("session") // or what middleware has put into the context
			if err != nil {
				return nil, nil // an anonymous user
			}
			name := strings.TrimPrefix(session.Value, "session-of-")
			return &hubsys.Principal{UserID: numbers[name], Value: name}, nil
		},
	}))
	address, stop := listen(sys)
	defer stop()

	ada, bob, nobody := newPage(address+"/signalr", "mailHub"), newPage(address+"/signalr", "mailHub"), newPage(address+"/signalr", "mailHub")
	ada.client.header.Set("Cookie", "session=session-of-ada")
	bob.client.header.Set("Cookie", "session=session-of-bob")
	ada.start()
	bob.start()
	ada.invoke("mailHub.send", "1002", "hello")
	fmt.Println(bob.receive())
	status, _ := nobody.client.request("GET", "/negotiate", nil, nil)
	fmt.Println(http.StatusText(status))
	// Output:
	// MailHub.mail["1001","hello"]
	// Unauthorized
}
