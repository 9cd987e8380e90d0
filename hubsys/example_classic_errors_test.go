package hubsys_test

import (
	"errors"
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// BankHub is a hub that fails.
type BankHub struct{ hubsys.Hub }

// Pay fails with a text and an object for the client.
func (h *BankHub) Pay(amount int) error {
	return &hubsys.HubError{
		Message: "there is not enough money",
		Data:    map[string]any{"missing": amount - 5},
		Err:     errors.New("account 17 of db-2"), // which is logged
	}
}

// Audit fails with an error that is not meant for clients.
func (h *BankHub) Audit() error { return errors.New("db-2 does not answer") }

// The text and the data of a HubError go to the client. Of other errors it is told only if it gets detailed errors, of one hub or on one path.
func ExampleHubError_data() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*BankHub](sys, nil, hubsys.HubOptions{}))
	must(hubsys.Register[*BankHub](sys, nil, hubsys.HubOptions{Name: "TestBank", EnableDetailedErrors: true}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "bankHub", "TestBank")
	fmt.Println(page.invoke("bankHub.pay", 7))
	fmt.Println(page.invoke("bankHub.audit"))
	fmt.Println(page.invoke("TestBank.audit"))
	// Output:
	// there is not enough money {"missing":2}
	// There was an error invoking Hub method 'bankHub.audit'.
	// db-2 does not answer
}
