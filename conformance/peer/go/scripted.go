package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// The scripted server behaves as the port of :authority says; the suite names the ports with -ports.
type script func(c *h2conn, s *h2stream) error

// Streams of "bye" whose other side has not ended yet.
var listening atomic.Int32

var scripts = map[string]script{
	"echo": echoScript,
	"s401": statusScript("401"),
	"s403": statusScript("403"),
	"s404": statusScript("404"),
	"s503": statusScript("503"),
	"interim": func(c *h2conn, s *h2stream) error {
		if err := answer(c, s, "103", false); err != nil {
			return err
		}
		return echoScript(c, s)
	},
	// Bytes, then RST_STREAM: the application gets the bytes.
	"cancel": resetScript(http2.ErrCodeCancel),
	"noerr":  resetScript(http2.ErrCodeNo),
	"ierr":   resetScript(http2.ErrCodeInternal),
	"refuse": func(_ *h2conn, s *h2stream) error { return s.sendReset(http2.ErrCodeRefusedStream) },
	// GOAWAY naming this stream as the last: it goes on, later calls need a new connection.
	"goaway": func(c *h2conn, s *h2stream) error {
		if err := answer(c, s, "200", false); err != nil {
			return err
		}
		if err := c.write(func(w *http2.Framer) error { return w.WriteGoAway(s.id, http2.ErrCodeNo, []byte("bye")) }); err != nil {
			return err
		}
		return echoBack(s)
	},
	// The server ends first and goes on listening, which Go's own server cannot.
	"bye": func(c *h2conn, s *h2stream) error {
		listening.Add(1)
		defer listening.Add(-1)
		if err := answer(c, s, "200", false); err != nil {
			return err
		}
		if err := s.send([]byte("bye\n"), true); err != nil {
			return err
		}
		got, err := s.awaitEnd(patience)
		emit(appEvent{Event: "bye", Bytes: int64(len(got) - len("bye\n"))})
		return err
	},
	"drop": func(c *h2conn, s *h2stream) error {
		if err := answer(c, s, "200", false); err != nil {
			return err
		}
		if err := s.send([]byte("partial"), false); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
		// What a case before this one sent on the same connection may still be on its way.
		for end := time.Now().Add(patience); listening.Load() > 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		c.close()
		return nil
	},
	"trailers": func(c *h2conn, s *h2stream) error {
		if err := answer(c, s, "200", false); err != nil {
			return err
		}
		if err := s.send([]byte("before"), false); err != nil {
			return err
		}
		return c.write(func(w *http2.Framer) error {
			return w.WriteHeaders(http2.HeadersFrameParam{
				StreamID: s.id, BlockFragment: c.encode([][2]string{{"x-end", "1"}}), EndStream: true, EndHeaders: true,
			})
		})
	},
	"padded": func(c *h2conn, s *h2stream) error {
		if err := answer(c, s, "200", false); err != nil {
			return err
		}
		return c.write(func(w *http2.Framer) error { return w.WriteDataPadded(s.id, true, []byte("padded"), make([]byte, 255)) })
	},
	"push": func(c *h2conn, s *h2stream) error {
		return c.write(func(w *http2.Framer) error {
			return w.WritePushPromise(http2.PushPromiseParam{
				StreamID: s.id, PromiseID: 2, BlockFragment: c.encode([][2]string{{":method", "GET"}, {":path", "/"}}), EndHeaders: true,
			})
		})
	},
	"garbage": func(c *h2conn, _ *h2stream) error {
		return c.write(func(w *http2.Framer) error {
			return w.WriteRawFrame(http2.FrameHeaders, 0x4, 0, []byte{0xff, 0xff, 0xff})
		})
	},
	"overrun": func(c *h2conn, s *h2stream) error {
		if err := answer(c, s, "200", false); err != nil {
			return err
		}
		chunk := make([]byte, 16384)
		for range 4096 { // 64 MiB with no look at any window.
			if err := c.write(func(w *http2.Framer) error { return w.WriteData(s.id, false, chunk) }); err != nil {
				return nil
			}
		}
		return nil
	},
	"mute": func(c *h2conn, s *h2stream) error {
		err := c.await("the client to give up", patience, func() bool { return s.reset != nil })
		emit(map[string]any{"event": "gave-up", "error": fmt.Sprint(err)})
		return nil
	},
	// Reads nothing: the client's windows run dry.
	"stall": func(c *h2conn, s *h2stream) error {
		s.greedy = false
		if err := answer(c, s, "200", false); err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		c.mu.Lock()
		n := s.data.Len()
		c.mu.Unlock()
		emit(map[string]any{"event": "stalled", "bytes": n})
		return s.sendReset(http2.ErrCodeCancel)
	},
	"ping": func(c *h2conn, s *h2stream) error {
		before := c.pongs
		if err := c.write(func(w *http2.Framer) error { return w.WritePing(false, [8]byte{9}) }); err != nil {
			return err
		}
		err := c.await("PING answer", patience, func() bool { return c.pongs > before })
		status := "200"
		if err != nil {
			status = "503"
		}
		if err := answer(c, s, status, status != "200"); err != nil {
			return err
		}
		return echoBack(s)
	},
	"smaller": func(c *h2conn, s *h2stream) error { // The frame size and window shrink while the connection is in use.
		c.mu.Lock()
		c.maxFrame = 1 << 24
		c.mu.Unlock()
		acks := c.settingsAcks
		err := c.write(func(w *http2.Framer) error {
			return w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16384}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: defaultWindow})
		})
		if err != nil {
			return err
		}
		if err := c.await("SETTINGS ACK", patience, func() bool { return c.settingsAcks > acks }); err != nil {
			return err
		}
		c.mu.Lock()
		c.maxFrame = 16384
		c.mu.Unlock()
		return echoScript(c, s)
	},
}

func runScripted(f *flags) error {
	byPort := map[string]string{}
	for _, pair := range strings.Split(f.ports, ",") {
		name, port, _ := strings.Cut(pair, "=")
		byPort[port] = name
	}
	return acceptTLS(f, func(conn *tls.Conn, number int) {
		settings := []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: uint32(f.parallel)}}
		_, err := newH2(conn, &h2options{
			isServer: true, settings: settings, connectionWindow: 16 * megabyte,
			onRequest: func(s *h2stream) { runScript(byPort, s, number) },
		})
		if err != nil {
			emit(map[string]any{"event": "connection-failed", "connection": number, "error": err.Error()})
		}
	})
}

func runScript(byPort map[string]string, s *h2stream, number int) {
	c := s.conn
	authority := valueOf(s.headers, ":authority")
	event := newRequestEvent(c.state, number, authority)
	event.Fields, event.EndStream = s.headers, s.ended
	emit(event)
	_, port, _ := net.SplitHostPort(authority)
	run := scripts[byPort[port]]
	if run == nil {
		run = statusScript("404")
	}
	if err := run(c, s); err != nil {
		emit(map[string]any{"event": "script-failed", "script": byPort[port], "error": err.Error()})
	}
	if err := c.clean(); err != nil {
		emit(map[string]any{"event": "violation", "script": byPort[port], "error": err.Error()})
	}
}

func answer(c *h2conn, s *h2stream, status string, endStream bool) error {
	return c.write(func(w *http2.Framer) error {
		return w.WriteHeaders(http2.HeadersFrameParam{
			StreamID: s.id, BlockFragment: c.encode([][2]string{{":status", status}}), EndStream: endStream, EndHeaders: true,
		})
	})
}

func statusScript(status string) script {
	return func(c *h2conn, s *h2stream) error { return answer(c, s, status, true) }
}

func resetScript(code http2.ErrCode) script {
	return func(c *h2conn, s *h2stream) error {
		if err := answer(c, s, "200", false); err != nil {
			return err
		}
		if err := s.send([]byte("partial"), false); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
		return s.sendReset(code)
	}
}

func echoScript(c *h2conn, s *h2stream) error {
	if err := answer(c, s, "200", false); err != nil {
		return err
	}
	return echoBack(s)
}

// echoBack sends back as it comes, and ends when the other side has ended.
func echoBack(s *h2stream) error {
	c := s.conn
	for at := 0; ; {
		err := c.await("bytes", patience, func() bool { return s.data.Len() > at || s.ended || s.reset != nil })
		if err != nil {
			return nil
		}
		c.mu.Lock()
		chunk := append([]byte(nil), s.data.Bytes()[at:]...)
		ended := s.ended
		c.mu.Unlock()
		at += len(chunk)
		if err := s.send(chunk, ended); err != nil || ended {
			return nil
		}
	}
}
