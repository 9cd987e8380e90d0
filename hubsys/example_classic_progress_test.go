package hubsys_test

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// ImportHub takes its time.
type ImportHub struct{ hubsys.Hub }

// Run is called by $.connection.importHub.server.run(3).progress(function (done) { … }).
func (h *ImportHub) Run(ctx context.Context, files int, progress hubsys.Progress[int]) (string, error) {
	for i := range files {
		if err := progress.Report(ctx, 100*(i+1)/files); err != nil {
			return "", err
		}
	}
	return "imported", nil
}

// A method with a last parameter of type Progress tells its caller how far it is.
func ExampleProgress() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*ImportHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "importHub")
	result := page.invoke("importHub.run", 3)
	for range 3 {
		fmt.Println(page.receive())
	}
	fmt.Println(result)
	// Output:
	// progress 33
	// progress 66
	// progress 100
	// "imported"
}
