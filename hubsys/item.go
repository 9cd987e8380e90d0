package hubsys

// Item is a value that belongs to a connection, by its name and type, in [Call].Items. Packages put their import path in front of the name.
//
//	var room = hubsys.Item[string]("room")
type Item[T any] string

// itemKey keeps items apart from what else is in Call.Items, and items of one name and different types from each other.
type itemKey[T any] struct{ name string }

// Load returns the value, and false if there is none.
func (i Item[T]) Load(c *Call) (value T, ok bool) {
	v, ok := c.Items().Load(itemKey[T]{string(i)})
	if ok {
		value = *v.(*T)
	}
	return value, ok
}

// Store sets the value.
func (i Item[T]) Store(c *Call, value T) { c.Items().Store(itemKey[T]{string(i)}, &value) }

// LoadOrMake returns the value, which it makes if there is none. Of several calls that make it at once, all return the same.
func (i Item[T]) LoadOrMake(c *Call, make func() T) T {
	if value, ok := i.Load(c); ok {
		return value
	}
	made := make()
	v, _ := c.Items().LoadOrStore(itemKey[T]{string(i)}, &made)
	return *v.(*T)
}

// Delete removes the value.
func (i Item[T]) Delete(c *Call) { c.Items().Delete(itemKey[T]{string(i)}) }
