package main

import (
	"bufio"
	"fmt"
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
// holds them until standard input ends. For each line of that, every connection does one more request, and a line says how
// many were answered.
func holdIdle(o options) error {
	c, err := newClient(o)
	if err != nil {
		return err
	}
	held := make([]*exchange, 0, o.connections)
	if err := c.openAll(func(x *exchange) { held = append(held, x) }); err != nil {
		return err
	}
	fmt.Printf("{\"open\":%d}\n", o.connections)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answered, err := c.askEach(held)
		if err != nil {
			return err
		}
		fmt.Printf("{\"answered\":%d}\n", answered)
	}
	return lines.Err()
}

// askEach has each of them answer one request, idleStep at a time. One that was closed meanwhile does not.
func (c *client) askEach(held []*exchange) (int, error) {
	open := make([]*exchange, 0, len(held))
	for _, x := range held {
		if c.exchanges[x.fd] == x {
			open = append(open, x)
		}
	}
	asked, answered, before := 0, 0, c.result.Errors
	lost := func() int { return int(c.result.Errors - before) }
	ask := func() {
		for asked < len(open) && asked-answered-lost() < idleStep {
			x := open[asked]
			asked++
			if c.exchanges[x.fd] == x {
				c.send(x)
			}
		}
	}
	isOver := func() bool {
		ask()
		return answered+lost() >= len(open)
	}
	for last := -1; !isOver() && answered+lost() > last; {
		last = answered + lost()
		if err := c.run(time.Now().Add(lateAnswer), func(*exchange) { answered++ }, isOver); err != nil {
			return answered, err
		}
	}
	return answered, nil
}
