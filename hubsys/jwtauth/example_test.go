package jwtauth_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/jwtauth"
)

// Chat is a hub for users who are logged in.
type Chat struct{ hubsys.Hub }

// Who returns who the caller is.
func (c *Chat) Who() string {
	p := c.Call().Principal()
	return fmt.Sprint(p.UserID, " ", p.Roles, " ", p.Claims["name"])
}

// Ban is for moderators.
func (c *Chat) Ban(user string) string { return user + " is banned" }

func Example() {
	public, private, err := ed25519.GenerateKey(nil) // of the server that issues tokens
	if err != nil {
		log.Fatal(err)
	}
	auth, err := jwtauth.New(jwtauth.Config{
		PublicKey: public, Algorithms: []string{"EdDSA"}, Issuer: "https://login.example", Audience: []string{"chat"},
	})
	if err != nil {
		log.Fatal(err)
	}
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	chat, err := hubsys.Register(sys, func(context.Context) (*Chat, error) { return &Chat{}, nil }, hubsys.HubOptions{
		Policy:  hubsys.RequireUser,
		Methods: []hubsys.Method{{Func: (*Chat).Ban, Policy: hubsys.RequireRole("moderator")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := chat.Map("/chat", hubsys.EndpointOptions{Authenticate: auth.Authenticate}); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sys)

	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://login.example", "aud": "chat", "sub": "17", "name": "Ada", "roles": []string{"user"}, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(private)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, response, err := websocket.Dial(ctx, server.URL+"/chat", nil); err != nil {
		fmt.Println("without a token:", response.Status)
	}
	ws, _, err := websocket.Dial(ctx, server.URL+"/chat", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		log.Fatal(err)
	}
	for _, message := range []string{
		`{"protocol":"json","version":1}`, `{"type":1,"invocationId":"1","target":"Who","arguments":[]}`, `{"type":1,"invocationId":"2","target":"Ban","arguments":["bob"]}`,
	} {
		if err := ws.Write(ctx, websocket.MessageText, []byte(message+"\x1e")); err != nil {
			log.Fatal(err)
		}
		_, answer, err := ws.Read(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", answer[:len(answer)-1])
	}
	if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		log.Fatal(err)
	}
	fmt.Println(errors.Join(sys.Shutdown(ctx), server.Config.Shutdown(ctx)))
	// Output:
	// without a token: 401 Unauthorized
	// {}
	// {"type":3,"invocationId":"1","result":"17 [user] Ada"}
	// {"type":3,"invocationId":"2","error":"Failed to invoke 'Ban' because user is unauthorized"}
	// <nil>
}
