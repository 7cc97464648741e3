package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2conn is HTTP/2 at the level of frames, either side, so that a case can say exactly what is sent. It keeps account of
// both directions' flow control: a peer that sends more than it was granted is a violation, which every case ends with.
type h2conn struct {
	conn     net.Conn
	framer   *http2.Framer
	writing  sync.Mutex
	encoder  *hpack.Encoder
	encoded  bytes.Buffer
	state    tls.ConnectionState
	isServer bool

	mu       sync.Mutex
	changed  *sync.Cond
	streams  map[uint32]*h2stream
	nextID   uint32
	settings map[http2.SettingID]uint32 // the peer's, as it sent them
	// What the peer may still be sent, and may still send, on the connection.
	sendWindow, receiveWindow int64
	initialWindow             int64  // ours: for each new stream
	maxFrame                  uint32 // ours
	goAways                   []http2.GoAwayFrame
	pongs                     int
	settingsAcks              int
	err                       error
	violations                []string
	onRequest                 func(*h2stream)
}

type h2stream struct {
	conn                      *h2conn
	id                        uint32
	sendWindow, receiveWindow int64
	headers                   [][2]string
	answered                  bool
	interim                   int
	trailers                  [][2]string
	data                      bytes.Buffer
	ended                     bool
	reset                     *http2.ErrCode
	// greedy streams give the window back as data comes; others only by grant.
	greedy bool
}

type h2options struct {
	settings      []http2.Setting
	initialWindow int64 // 0: the protocol's 65,535
	maxFrame      uint32
	isServer      bool
	onRequest     func(*h2stream)
	// The connection's window is widened to this.
	connectionWindow int64
}

const defaultWindow = 65535

func dialH2(target string, config *tls.Config, o *h2options) (*h2conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	if o == nil {
		o = &h2options{}
	}
	return newH2(conn.(*tls.Conn), o)
}

func newH2(conn *tls.Conn, o *h2options) (*h2conn, error) {
	c := &h2conn{
		conn: conn, framer: http2.NewFramer(conn, conn), state: conn.ConnectionState(), isServer: o.isServer,
		streams: map[uint32]*h2stream{}, nextID: 1, settings: map[http2.SettingID]uint32{},
		sendWindow: defaultWindow, receiveWindow: defaultWindow, initialWindow: defaultWindow, maxFrame: 16384,
		onRequest: o.onRequest,
	}
	c.changed = sync.NewCond(&c.mu)
	c.encoder = hpack.NewEncoder(&c.encoded)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = 1 << 20
	c.framer.AllowIllegalWrites = true
	settings := o.settings
	if o.initialWindow != 0 {
		c.initialWindow = o.initialWindow
		settings = append(settings, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(o.initialWindow)})
	}
	if o.maxFrame != 0 {
		c.maxFrame = o.maxFrame
		settings = append(settings, http2.Setting{ID: http2.SettingMaxFrameSize, Val: o.maxFrame})
	}
	c.framer.SetMaxReadFrameSize(1<<24 - 1)
	if !o.isServer {
		settings = append(settings, http2.Setting{ID: http2.SettingEnablePush, Val: 0})
		if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
			return nil, err
		}
	} else {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := readFull(conn, preface); err != nil || string(preface) != http2.ClientPreface {
			return nil, fmt.Errorf("preface %q: %v", preface, err)
		}
	}
	if err := c.framer.WriteSettings(settings...); err != nil {
		return nil, err
	}
	if grow := o.connectionWindow - defaultWindow; grow > 0 {
		c.receiveWindow += grow
		if err := c.framer.WriteWindowUpdate(0, uint32(grow)); err != nil {
			return nil, err
		}
	}
	go c.read()
	return c, nil
}

func readFull(conn net.Conn, into []byte) (int, error) {
	at := 0
	for at < len(into) {
		n, err := conn.Read(into[at:])
		at += n
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

func (c *h2conn) close() { _ = c.conn.Close() }

// write runs `send` with the framer to itself.
func (c *h2conn) write(send func(*http2.Framer) error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return send(c.framer)
}

func (c *h2conn) violation(format string, args ...any) {
	c.violations = append(c.violations, fmt.Sprintf(format, args...))
}

func (c *h2conn) read() {
	for {
		frame, err := c.framer.ReadFrame()
		c.mu.Lock()
		if err != nil {
			var streamError http2.StreamError
			if errors.As(err, &streamError) {
				c.violation("malformed headers on stream %d: %v", streamError.StreamID, streamError)
				c.mu.Unlock()
				continue
			}
			c.err = err
			c.changed.Broadcast()
			c.mu.Unlock()
			return
		}
		after := c.handle(frame)
		c.changed.Broadcast()
		c.mu.Unlock()
		if after != nil {
			after()
		}
	}
}

// handle runs under the lock; what it returns is run without it.
func (c *h2conn) handle(frame http2.Frame) func() {
	id := frame.Header().StreamID
	if frame.Header().Length > c.maxFrame {
		c.violation("%s of %d bytes, allowed are %d", frame.Header().Type, frame.Header().Length, c.maxFrame)
	}
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.PingFrame:
		if f.IsAck() {
			c.pongs++
			return nil
		}
		data := f.Data
		return func() { _ = c.write(func(w *http2.Framer) error { return w.WritePing(true, data) }) }
	case *http2.GoAwayFrame:
		c.goAways = append(c.goAways, *f)
	case *http2.WindowUpdateFrame:
		if id == 0 {
			c.sendWindow += int64(f.Increment)
		} else if s := c.streams[id]; s != nil {
			s.sendWindow += int64(f.Increment)
		}
	case *http2.RSTStreamFrame:
		if s := c.streams[id]; s != nil {
			code := f.ErrCode
			s.reset = &code
		}
	case *http2.MetaHeadersFrame:
		return c.onHeaders(f)
	case *http2.DataFrame:
		return c.onData(f)
	case *http2.PushPromiseFrame:
		c.violation("PUSH_PROMISE")
	}
	return nil
}

func (c *h2conn) onSettings(f *http2.SettingsFrame) func() {
	if f.IsAck() {
		c.settingsAcks++
		return nil
	}
	_ = f.ForeachSetting(func(s http2.Setting) error {
		if s.ID == http2.SettingInitialWindowSize {
			for _, one := range c.streams {
				one.sendWindow += int64(s.Val) - c.peerSetting(s.ID, defaultWindow)
			}
		}
		c.settings[s.ID] = s.Val
		return nil
	})
	return func() { _ = c.write(func(w *http2.Framer) error { return w.WriteSettingsAck() }) }
}

func (c *h2conn) peerSetting(id http2.SettingID, otherwise int64) int64 {
	if value, ok := c.settings[id]; ok {
		return int64(value)
	}
	return otherwise
}

func (c *h2conn) onHeaders(f *http2.MetaHeadersFrame) func() {
	fields := make([][2]string, 0, len(f.Fields))
	for _, field := range f.Fields {
		fields = append(fields, [2]string{field.Name, field.Value})
	}
	s := c.streams[f.StreamID]
	if s == nil {
		if !c.isServer {
			c.violation("HEADERS on unknown stream %d", f.StreamID)
			return nil
		}
		s = c.newStream(f.StreamID)
		s.headers, s.ended = fields, f.StreamEnded()
		return func() {
			if c.onRequest != nil {
				go c.onRequest(s)
			}
		}
	}
	s.ended = f.StreamEnded()
	switch {
	case s.answered:
		s.trailers = fields
	case strings.HasPrefix(valueOf(fields, ":status"), "1"):
		s.interim++
	default:
		s.headers, s.answered = fields, true
	}
	return nil
}

func (c *h2conn) onData(f *http2.DataFrame) func() {
	length := int64(f.Length)
	c.receiveWindow -= length
	if c.receiveWindow < 0 {
		c.violation("the connection's window is exceeded by %d", -c.receiveWindow)
	}
	s := c.streams[f.StreamID]
	if s == nil {
		c.violation("DATA on unknown stream %d", f.StreamID)
		return nil
	}
	s.receiveWindow -= length
	if s.receiveWindow < 0 {
		c.violation("the window of stream %d is exceeded by %d", s.id, -s.receiveWindow)
	}
	if s.ended {
		c.violation("DATA after END_STREAM on stream %d", s.id)
	}
	s.data.Write(f.Data())
	s.ended = f.StreamEnded()
	if length == 0 {
		return nil
	}
	// The connection's window always comes back: only streams are held up on purpose.
	c.receiveWindow += length
	if s.greedy {
		s.receiveWindow += length
	}
	greedy := s.greedy && !s.ended
	return func() {
		_ = c.write(func(w *http2.Framer) error {
			if greedy {
				if err := w.WriteWindowUpdate(s.id, uint32(length)); err != nil {
					return err
				}
			}
			return w.WriteWindowUpdate(0, uint32(length))
		})
	}
}

func (c *h2conn) newStream(id uint32) *h2stream {
	s := &h2stream{
		conn: c, id: id, greedy: true, receiveWindow: c.initialWindow,
		sendWindow: c.peerSetting(http2.SettingInitialWindowSize, defaultWindow),
	}
	c.streams[id] = s
	return s
}

func valueOf(fields [][2]string, name string) string {
	for _, field := range fields {
		if field[0] == name {
			return field[1]
		}
	}
	return ""
}

// await waits under the lock until `until` says so. @returns an error when the connection ends first, or time is up.
func (c *h2conn) await(what string, timeout time.Duration, until func() bool) error {
	deadline := time.Now().Add(timeout)
	timer := time.AfterFunc(timeout, c.changed.Broadcast)
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !until() {
		if c.err != nil {
			return fmt.Errorf("waiting for %s: connection ended: %w", what, c.err)
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("waiting for %s: nothing in %v", what, timeout)
		}
		c.changed.Wait()
	}
	return nil
}

// clean is what a case ends with: no violation was seen.
func (c *h2conn) clean() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.violations) > 0 {
		return fmt.Errorf("peer broke the protocol: %s", strings.Join(c.violations, "; "))
	}
	return nil
}

// encode is called inside write().
func (c *h2conn) encode(fields [][2]string) []byte {
	c.encoded.Reset()
	for _, field := range fields {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return c.encoded.Bytes()
}

// open starts a stream with exactly these header fields.
func (c *h2conn) open(fields [][2]string, endStream bool) (*h2stream, error) {
	return c.openWith(func(w *http2.Framer, id uint32) error {
		return w.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: c.encode(fields), EndStream: endStream, EndHeaders: true,
		})
	})
}

func (c *h2conn) openWith(send func(w *http2.Framer, id uint32) error) (*h2stream, error) {
	var s *h2stream
	err := c.write(func(w *http2.Framer) error {
		c.mu.Lock()
		s = c.newStream(c.nextID)
		c.nextID += 2
		c.mu.Unlock()
		return send(w, s.id)
	})
	return s, err
}

func connectFields(authority string) [][2]string {
	return [][2]string{
		{":method", "CONNECT"}, {":authority", authority},
		{"baggage", "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.pod.name=cart,service.name=cart,service.version=v1"},
		{"forwarded", `for="10.77.0.1:40000"`},
		{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"},
	}
}

// connect asks for a tunnel as ztunnel does.
func (c *h2conn) connect(authority string) (*h2stream, error) {
	return c.open(connectFields(authority), false)
}

func (s *h2stream) awaitStatus(timeout time.Duration) (int, error) {
	err := s.conn.await("a status", timeout, func() bool { return s.answered || s.reset != nil })
	if err != nil {
		return 0, err
	}
	if !s.answered {
		return 0, fmt.Errorf("stream reset: %v", *s.reset)
	}
	var status int
	_, err = fmt.Sscan(valueOf(s.headers, ":status"), &status)
	return status, err
}

// send obeys the peer's windows and frame size.
func (s *h2stream) send(data []byte, endStream bool) error {
	c := s.conn
	for first := true; first || len(data) > 0; first = false {
		n := int64(0)
		if len(data) > 0 {
			err := c.await("window to send", patience, func() bool {
				return s.reset != nil || (s.sendWindow > 0 && c.sendWindow > 0)
			})
			if err != nil {
				return err
			}
			c.mu.Lock()
			if s.reset != nil {
				c.mu.Unlock()
				return fmt.Errorf("stream reset: %v", *s.reset)
			}
			n = min(int64(len(data)), s.sendWindow, c.sendWindow, c.peerSetting(http2.SettingMaxFrameSize, 16384))
			s.sendWindow -= n
			c.sendWindow -= n
			c.mu.Unlock()
		}
		chunk := data[:n]
		data = data[n:]
		err := c.write(func(w *http2.Framer) error { return w.WriteData(s.id, endStream && len(data) == 0, chunk) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *h2stream) sendReset(code http2.ErrCode) error {
	return s.conn.write(func(w *http2.Framer) error { return w.WriteRSTStream(s.id, code) })
}

// grant widens this stream's window.
func (s *h2stream) grant(n uint32) error {
	s.conn.mu.Lock()
	s.receiveWindow += int64(n)
	s.conn.mu.Unlock()
	return s.conn.write(func(w *http2.Framer) error { return w.WriteWindowUpdate(s.id, n) })
}

// awaitBytes waits until at least n bytes have come; @returns a copy of all of them.
func (s *h2stream) awaitBytes(n int, timeout time.Duration) ([]byte, error) {
	err := s.conn.await(fmt.Sprintf("%d bytes", n), timeout, func() bool {
		return s.data.Len() >= n || s.ended || s.reset != nil
	})
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	got := bytes.Clone(s.data.Bytes())
	if err == nil && len(got) < n {
		err = fmt.Errorf("stream ended after %d of %d bytes (reset: %v)", len(got), n, s.reset)
	}
	return got, err
}

// awaitEnd waits for END_STREAM; a reset is an error. @returns everything that came.
func (s *h2stream) awaitEnd(timeout time.Duration) ([]byte, error) {
	err := s.conn.await("END_STREAM", timeout, func() bool { return s.ended || s.reset != nil })
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if err == nil && !s.ended {
		err = fmt.Errorf("stream reset: %v", *s.reset)
	}
	return s.data.Bytes(), err
}
