// Package typed has messages and functions of clients with a name and types of their own, so that the compiler checks what is sent.
//
// A message is declared once, as a value that servers, Go clients and tests can share, and so is a function, which has a result:
//
//	var (
//		Receive = typed.Message2[string, string]("receive")
//		Confirm = typed.Func1[string, bool]("confirm")
//	)
//
// They are used with a receiver, or one client:
//
//	err := Receive.Send(ctx, chat.Clients().All(), user, text)
//	ok, err := Confirm.Invoke(ctx, chat.Clients().Client(id), "Really?")
package typed
