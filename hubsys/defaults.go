package hubsys

import "reflect"

// withDefaults returns options, with the defaults in place of fields that are zero, and checks them. Filters of both apply, those of the defaults
// around the others; policies of both must allow.
func withDefaults[T interface{ Validate() error }](defaults, options T) (T, error) {
	from, to := reflect.ValueOf(&defaults).Elem(), reflect.ValueOf(&options).Elem()
	for i := range to.NumField() {
		d, o := from.Field(i), to.Field(i)
		switch name := to.Type().Field(i).Name; {
		case o.IsZero():
			o.Set(d)
		case name == "Policy":
			o.Set(reflect.ValueOf(both(d.Interface().(Policy), o.Interface().(Policy))))
		case name == "Filters", name == "SendFilters":
			all := reflect.MakeSlice(o.Type(), 0, d.Len()+o.Len())
			o.Set(reflect.AppendSlice(reflect.AppendSlice(all, d), o))
		}
	}
	return options, options.Validate()
}
