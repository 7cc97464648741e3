package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// measureConnections keeps `connections` slots busy with connect, one request, close. The latency is from connect() to
// the whole response. The client closes first, so the TIME_WAIT is its own.
func measureConnections(o options) (*requestsResult, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	for range o.connections {
		c.open()
	}
	result, err := c.window(func(x *exchange) {
		c.record(x, time.Now())
		c.close(x)
		c.open()
		// A connection that failed left its slot empty; fill it, or an outage would look like a slow spell.
		for len(c.exchanges) < o.connections && c.result.Errors < 1000 {
			c.open()
		}
	})
	if err == nil && result.Requests == 0 {
		err = fmt.Errorf("no connection succeeded: %s", result.FirstError)
	}
	return result, err
}

// idleStep is how many connections are being opened at a time.
const idleStep = 64

// holdIdle opens them all, does one request on each so that the tunnel stands from end to end, says so in one line and
// holds them until standard input ends.
func holdIdle(o options) error {
	c, err := newClient(o)
	if err != nil {
		return err
	}
	if err := c.openAll(func(*exchange) {}); err != nil {
		return err
	}
	fmt.Printf("{\"open\":%d}\n", o.connections)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
