package hubsys_test

import (
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// AuctionHub is a hub whose methods have other names for clients.
type AuctionHub struct{ hubsys.Hub }

// Bid is what clients call bid.
func (h *AuctionHub) Bid(amount int) string { return fmt.Sprint("bid ", amount) }

// BidUpTo is what clients call bid as well, with two arguments.
func (h *AuctionHub) BidUpTo(amount, most int) string {
	return fmt.Sprint("bid ", amount, " to ", most)
}

// Finish is what clients call END_OF_AUCTION.
func (h *AuctionHub) Finish() string { return "finished" }

// Reset is for the program alone.
func (h *AuctionHub) Reset() {}

// Methods can have other names for clients than in Go. Those of one name are told apart by their numbers of arguments.
func ExampleMethod() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*AuctionHub](sys, nil, hubsys.HubOptions{Methods: []hubsys.Method{
		{Func: (*AuctionHub).BidUpTo, Name: "Bid"},
		{Func: (*AuctionHub).Finish, Name: "END_OF_AUCTION"},
		{Func: (*AuctionHub).Reset, Hidden: true},
	}}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "auctionHub")
	fmt.Println(page.invoke("auctionHub.bid", 10))
	fmt.Println(page.invoke("auctionHub.bid", 10, 20))
	fmt.Println(page.invoke("auctionHub.END_OF_AUCTION"))
	fmt.Println(page.invoke("auctionHub.reset"))
	// Output:
	// "bid 10"
	// "bid 10 to 20"
	// "finished"
	// There was an error invoking Hub method 'auctionHub.reset'.
}
