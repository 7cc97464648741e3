package main

import (
	"net"
	"testing"
)

// A server's side of a connection, as the kernel has it.
func answerEach(connection net.Conn) {
	buffer := make([]byte, 4096)
	for {
		if _, err := connection.Read(buffer); err != nil {
			return
		}
		if _, err := connection.Write(response); err != nil {
			return
		}
	}
}

func TestAskEachTellsTheOnesThatAreGone(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	const count, gone = 3 * idleStep, idleStep + 5
	accepted := make(chan net.Conn, count)
	go func() {
		for range count {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- connection
			go answerEach(connection)
		}
	}()
	c, err := newClient(options{target: listener.Addr().String(), connections: count})
	if err != nil {
		t.Fatal(err)
	}
	var held []*exchange
	if err := c.openAll(func(x *exchange) { held = append(held, x) }); err != nil {
		t.Fatal(err)
	}
	if answered, err := c.askEach(held); answered != count || err != nil {
		t.Fatalf("%d of %d answered, %v", answered, count, err)
	}
	for range gone {
		_ = (<-accepted).Close()
	}
	for range 2 {
		if answered, err := c.askEach(held); answered != count-gone || err != nil {
			t.Errorf("%d of %d answered, %v", answered, count-gone, err)
		}
	}
}
