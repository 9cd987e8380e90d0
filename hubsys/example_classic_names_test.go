package hubsys_test

import (
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// WeatherHub is a hub that is registered under two names.
type WeatherHub struct{ hubsys.Hub }

// TellForecast has a name that begins in lower case in JavaScript.
func (h *WeatherHub) TellForecast(place string) string {
	return h.Call().HubName() + ": sun in " + place
}

// JavaScript has the name of a hub's type in camel case, and HubOptions.Name as it is. Clients may write names in any case.
func ExampleHubOptions_names() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*WeatherHub](sys, nil, hubsys.HubOptions{}))
	must(hubsys.Register[*WeatherHub](sys, nil, hubsys.HubOptions{Name: "PascalCaseWeather"}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "weatherHub", "PascalCaseWeather")
	fmt.Println(page.invoke("weatherHub.tellForecast", "Oslo")) // $.connection.weatherHub.server.tellForecast("Oslo")
	fmt.Println(page.invoke("WEATHERHUB.TellForecast", "Rome"))
	fmt.Println(page.invoke("PascalCaseWeather.tellForecast", "Lima"))
	// Output:
	// "WeatherHub: sun in Oslo"
	// "WeatherHub: sun in Rome"
	// "PascalCaseWeather: sun in Lima"
}
