package main

import (
	"fmt"
	"time"
)

// measureRotating holds `connections` open and keeps `outstanding` requests out: whoever was answered goes to the end of
// the line, so that the queue of a closed loop does not grow with the number of connections, and what does is the tunnel's.
func measureRotating(o options) (*requestsResult, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	line := make([]*exchange, 0, o.connections)
	if err := c.openAll(func(x *exchange) { line = append(line, x) }); err != nil {
		return nil, err
	}
	// A ring: who waits is in line[head:head+waiting].
	head, waiting := 0, len(line)
	next := func() {
		x := line[head]
		head, waiting = (head+1)%len(line), waiting-1
		x.sentAt = time.Now()
		c.send(x)
	}
	for range min(o.outstanding, len(line)) {
		next()
	}
	return c.window(func(x *exchange) {
		c.record(x, time.Now())
		line[(head+waiting)%len(line)] = x
		waiting++
		next()
	})
}

// openAll opens `connections` one after the other, idleStep at a time, and has each answer one request.
func (c *client) openAll(onOpen func(*exchange)) error {
	opened, answered := 0, 0
	openOne := func() {
		if opened < c.options.connections {
			opened++
			c.open()
		}
	}
	for range idleStep {
		openOne()
	}
	isOver := func() bool { return answered+int(c.result.Errors) == c.options.connections }
	// As long as there is an answer now and then, however busy the machine is.
	for before := -1; !isOver() && answered > before; {
		before = answered
		err := c.run(time.Now().Add(lateAnswer), func(x *exchange) {
			answered++
			onOpen(x)
			openOne()
		}, isOver)
		if err != nil {
			return err
		}
	}
	if answered != c.options.connections {
		return fmt.Errorf("%d of %d connections answered; first error: %s", answered, c.options.connections, c.result.FirstError)
	}
	return nil
}
