package main

import (
	"bytes"
	"fmt"
	"math"
	"syscall"
	"time"
)

type requestsResult struct {
	Connections int       `json:"connections"`
	Requests    uint64    `json:"requests"`
	Seconds     float64   `json:"seconds"`
	P50Us       float64   `json:"p50Us"`
	P99Us       float64   `json:"p99Us"`
	P999Us      float64   `json:"p999Us"`
	MaxUs       float64   `json:"maxUs"`
	Errors      uint64    `json:"errors"`
	FirstError  string    `json:"firstError,omitempty"`
	CPUSeconds  []float64 `json:"cpuSeconds"`
	// Of the connections that were open to the end, the one with most requests and the one with least.
	Most  uint64 `json:"most"`
	Least uint64 `json:"least"`
}

// exchange is one request on one connection.
type exchange struct {
	fd        int
	connected bool
	received  int
	sentAt    time.Time
	// Inside the window.
	answered uint64
}

// client keeps `connections` exchanges going, each with one request outstanding (a closed loop, as wrk's).
type client struct {
	options   options
	address   syscall.Sockaddr
	family    int
	poll      *poller
	exchanges map[int]*exchange
	free      []*exchange
	opened    int
	buffer    []byte
	measuring bool
	latencies histogram
	result    requestsResult
}

func newClient(o options) (*client, error) {
	address, family, err := sockaddr(o.target)
	if err != nil {
		return nil, err
	}
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &client{
		options: o, address: address, family: family, poll: poll, exchanges: make(map[int]*exchange, o.connections),
		buffer: make([]byte, 64<<10), result: requestsResult{Connections: o.connections},
	}, nil
}

func (c *client) fail(x *exchange, format string, args ...any) {
	c.result.Errors++
	if c.result.FirstError == "" {
		c.result.FirstError = fmt.Sprintf(format, args...)
	}
	if x != nil {
		c.close(x)
	}
}

func (c *client) close(x *exchange) {
	delete(c.exchanges, x.fd)
	_ = syscall.Close(x.fd)
	c.free = append(c.free, x)
}

// open starts a connection; its clock runs from here when fromConnect is wanted by the caller.
func (c *client) open() {
	var source syscall.Sockaddr
	if n := len(c.options.sources); n > 0 {
		source = c.options.sources[c.opened%n]
	}
	c.opened++
	fd, err := connectSocket(c.address, c.family, source)
	if err != nil {
		c.fail(nil, "connect: %v", err)
		return
	}
	var x *exchange
	if n := len(c.free); n > 0 {
		x, c.free = c.free[n-1], c.free[:n-1]
		*x = exchange{}
	} else {
		x = &exchange{}
	}
	x.fd, x.sentAt = fd, time.Now()
	c.exchanges[fd] = x
	if err := c.poll.add(fd, syscall.EPOLLOUT); err != nil {
		c.fail(x, "epoll: %v", err)
	}
}

func (c *client) send(x *exchange) {
	x.received = 0
	if n, err := syscall.Write(x.fd, request); n != len(request) {
		c.fail(x, "write: %d bytes, %v", n, err)
	}
}

// finishConnect sends the first request once the socket is writable.
func (c *client) finishConnect(x *exchange) {
	if code, err := syscall.GetsockoptInt(x.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || code != 0 {
		c.fail(x, "connect: %v", syscall.Errno(code))
		return
	}
	x.connected = true
	if err := c.poll.change(x.fd, syscall.EPOLLIN); err != nil {
		c.fail(x, "epoll: %v", err)
		return
	}
	c.send(x)
}

// receive says whether a whole response is there. The server always sends the same bytes, so length and head decide.
func (c *client) receive(x *exchange) bool {
	n, err := syscall.Read(x.fd, c.buffer)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return false
	}
	if n <= 0 {
		c.fail(x, "closed after %d bytes of the response: %v", x.received, err)
		return false
	}
	if x.received == 0 && !bytes.HasPrefix(c.buffer[:n], response[:min(n, 12)]) {
		c.fail(x, "not the response: %q", c.buffer[:min(n, 40)])
		return false
	}
	x.received += n
	if x.received > len(response) {
		c.fail(x, "%d bytes where %d were due", x.received, len(response))
		return false
	}
	return x.received == len(response)
}

// run turns the loop until `end`, or until `enough` says so; it calls onResponse for each whole response.
func (c *client) run(end time.Time, onResponse func(*exchange), enough func() bool) error {
	for {
		left := time.Until(end)
		if left <= 0 || (enough != nil && enough()) {
			return nil
		}
		events, err := c.poll.wait(int(left.Milliseconds()) + 1)
		if err != nil {
			return err
		}
		for _, event := range events {
			x := c.exchanges[int(event.Fd)]
			if x == nil {
				continue
			}
			if !x.connected {
				c.finishConnect(x)
			} else if c.receive(x) {
				onResponse(x)
			}
		}
	}
}

// record counts a response that came inside the window.
func (c *client) record(x *exchange, now time.Time) {
	if c.measuring {
		c.result.Requests++
		x.answered++
		c.latencies.add(uint64(now.Sub(x.sentAt)))
	}
}

// lateAnswer is how long a window is drawn out in which nothing was answered.
const lateAnswer = 30 * time.Second

// window runs the warm-up, then the measured part.
func (c *client) window(onResponse func(*exchange)) (*requestsResult, error) {
	if err := c.run(time.Now().Add(c.options.warmUp), onResponse, nil); err != nil {
		return nil, err
	}
	meter, err := startCPU(c.options.pids)
	if err != nil {
		return nil, err
	}
	c.measuring = true
	start := time.Now()
	if err := c.run(start.Add(c.options.window), onResponse, nil); err != nil {
		return nil, err
	}
	r := &c.result
	// A machine that has no time for us has a window in which nothing came; what comes then is late, and not missing.
	someCame := func() bool { return r.Requests > 0 || r.Errors > 0 }
	if err := c.run(time.Now().Add(lateAnswer), onResponse, someCame); err != nil {
		return nil, err
	}
	r.Seconds = time.Since(start).Seconds()
	if r.CPUSeconds, err = meter.spent(); err != nil {
		return nil, err
	}
	h := &c.latencies
	r.P50Us, r.P99Us, r.P999Us, r.MaxUs = h.quantileUs(0.5), h.quantileUs(0.99), h.quantileUs(0.999), float64(h.max)/1000
	return r, nil
}

func measureRequests(o options) (*requestsResult, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	for range o.connections {
		c.open()
	}
	result, err := c.window(func(x *exchange) {
		now := time.Now()
		c.record(x, now)
		x.sentAt = now
		c.send(x)
	})
	if result != nil {
		result.Most, result.Least = extremes(c.exchanges)
	}
	return result, err
}

// extremes says how many answers the connection with most of them had, and the one with least.
func extremes(exchanges map[int]*exchange) (most, least uint64) {
	least = math.MaxUint64
	for _, x := range exchanges {
		most, least = max(most, x.answered), min(least, x.answered)
	}
	return most, min(most, least)
}
