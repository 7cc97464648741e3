package main

import (
	"crypto/tls"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http2"
)

// oddities are legal but rare, or illegal: the node answers as RFC 9113 says and goes on serving others.
func (k *inboundCases) oddities() []check {
	return []check{
		{"unknown-frame-is-ignored", k.with(nil, func(c *h2conn) error {
			err := c.write(func(w *http2.Framer) error { return w.WriteRawFrame(0xfe, 0xff, 0, []byte("?")) })
			if err != nil {
				return err
			}
			return k.echo(c)
		})},
		{"unknown-setting-is-ignored", k.with(&h2options{settings: []http2.Setting{{ID: 0xabcd, Val: 7}}}, k.echo)},
		{"padding-is-removed", k.with(nil, func(c *h2conn) error {
			s, err := c.openWith(func(w *http2.Framer, id uint32) error {
				return w.WriteHeaders(http2.HeadersFrameParam{
					StreamID: id, BlockFragment: c.encode(connectFields(k.authority("app"))), EndHeaders: true, PadLength: 77,
				})
			})
			if err != nil {
				return err
			}
			if status, err := s.awaitStatus(patience); err != nil || status != 200 {
				return fmt.Errorf("status %d, %v", status, err)
			}
			err = c.write(func(w *http2.Framer) error {
				return w.WriteDataPadded(s.id, true, []byte("echo\npadded"), make([]byte, 200))
			})
			if err != nil {
				return err
			}
			got, err := s.awaitEnd(patience)
			if err == nil && string(got) != "padded" {
				err = fmt.Errorf("%q", got)
			}
			return err
		})},
		{"continuation-is-joined", k.with(nil, func(c *h2conn) error {
			s, err := c.openWith(func(w *http2.Framer, id uint32) error {
				block := append([]byte(nil), c.encode(connectFields(k.authority("app")))...)
				param := http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:5]}
				if err := w.WriteHeaders(param); err != nil {
					return err
				}
				if err := w.WriteContinuation(id, false, block[5:9]); err != nil {
					return err
				}
				return w.WriteContinuation(id, true, block[9:])
			})
			if err != nil {
				return err
			}
			status, err := s.awaitStatus(patience)
			if err == nil && status != 200 {
				err = fmt.Errorf("status %d", status)
			}
			return err
		})},
		{"without-mesh-headers", k.with(nil, func(c *h2conn) error {
			s, err := c.open([][2]string{{":method", "CONNECT"}, {":authority", k.authority("app")}}, false)
			if err != nil {
				return err
			}
			status, err := s.awaitStatus(patience)
			if err == nil && status != 200 {
				err = fmt.Errorf("status %d", status)
			}
			return err
		})},
		{"scheme-on-connect-is-malformed", k.malformed([][2]string{
			{":method", "CONNECT"}, {":scheme", "https"}, {":authority", k.authority("app")},
		})},
		{"path-on-connect-is-malformed", k.malformed([][2]string{
			{":method", "CONNECT"}, {":path", "/"}, {":authority", k.authority("app")},
		})},
		{"upper-case-name-is-malformed", k.malformed(append(connectFields(k.authority("app")), [2]string{"X-Upper", "1"}))},
		{"connection-header-is-malformed", k.malformed(append(connectFields(k.authority("app")), [2]string{"connection", "close"}))},
		{"pseudo-after-regular-is-malformed", k.malformed([][2]string{
			{":method", "CONNECT"}, {"x-a", "1"}, {":authority", k.authority("app")},
		})},
		{"two-authorities-is-malformed", k.malformed([][2]string{
			{":method", "CONNECT"}, {":authority", k.authority("app")}, {":authority", k.authority("denied")},
		})},
		{"data-on-idle-stream", k.offence(func(c *h2conn) error {
			return c.write(func(w *http2.Framer) error { return w.WriteData(99, false, []byte("x")) })
		})},
		{"even-stream", k.offence(func(c *h2conn) error {
			return c.write(func(w *http2.Framer) error {
				return w.WriteHeaders(http2.HeadersFrameParam{
					StreamID: 2, BlockFragment: c.encode(connectFields(k.authority("app"))), EndHeaders: true,
				})
			})
		})},
		{"oversized-frame", k.offence(func(c *h2conn) error {
			return c.write(func(w *http2.Framer) error {
				return w.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 6*400_000))
			})
		})},
		{"settings-of-five-bytes", k.offence(func(c *h2conn) error {
			return c.write(func(w *http2.Framer) error { return w.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5)) })
		})},
		{"window-overflow", k.offence(func(c *h2conn) error {
			for range 2 {
				if err := c.write(func(w *http2.Framer) error { return w.WriteWindowUpdate(0, 1<<31-1) }); err != nil {
					return err
				}
			}
			return nil
		})},
		{"broken-header-compression", k.offence(func(c *h2conn) error {
			return c.write(func(w *http2.Framer) error {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
			})
		})},
		{"interleaved-continuation", k.offence(func(c *h2conn) error {
			return c.write(func(w *http2.Framer) error {
				if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}); err != nil {
					return err
				}
				return w.WritePing(false, [8]byte{})
			})
		})},
		{"endless-continuations", k.offence(func(c *h2conn) error {
			return c.write(func(w *http2.Framer) error {
				if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}); err != nil {
					return err
				}
				// 0x10: a literal, never indexed; 64 KiB of header list each.
				block := append([]byte{0x10, 1, 'x', 0x7f, 0x81, 0x7e}, make([]byte, 16256)...)
				for range 500 {
					if err := w.WriteContinuation(1, false, block); err != nil {
						return nil // The node has hung up: that is what is wanted.
					}
				}
				return nil
			})
		})},
		{"reset-flood-is-survived", k.flood(func(c *h2conn) error {
			for range 5000 {
				s, err := c.connect(k.authority("app"))
				if err != nil {
					return nil
				}
				if err := s.sendReset(http2.ErrCodeCancel); err != nil {
					return nil
				}
			}
			return nil
		})},
		{"ping-flood-is-survived", k.flood(func(c *h2conn) error {
			for range 20_000 {
				if c.write(func(w *http2.Framer) error { return w.WritePing(false, [8]byte{}) }) != nil {
					return nil
				}
			}
			return nil
		})},
		{"settings-flood-is-survived", k.flood(func(c *h2conn) error {
			for range 20_000 {
				if c.write(func(w *http2.Framer) error { return w.WriteSettings() }) != nil {
					return nil
				}
			}
			return nil
		})},
		{"empty-data-flood-is-survived", k.flood(func(c *h2conn) error {
			s, err := k.tunnel(c, "app")
			if err != nil {
				return err
			}
			for range 50_000 {
				if c.write(func(w *http2.Framer) error { return w.WriteData(s.id, false, nil) }) != nil {
					return nil
				}
			}
			return nil
		})},
		{"client-goaway-lets-streams-finish", k.with(nil, func(c *h2conn) error {
			s, err := k.tunnel(c, "app")
			if err != nil {
				return err
			}
			if err := c.write(func(w *http2.Framer) error { return w.WriteGoAway(0, http2.ErrCodeNo, nil) }); err != nil {
				return err
			}
			if err := s.send([]byte("echo\nafter"), true); err != nil {
				return err
			}
			got, err := s.awaitEnd(patience)
			if err == nil && string(got) != "after" {
				err = fmt.Errorf("%q", got)
			}
			return err
		})},
	}
}

// malformed is a stream error of type PROTOCOL_ERROR (RFC 9113 §8.1.1), or of the connection; never an answer of success.
// A 400 before the reset is allowed by the same section.
func (k *inboundCases) malformed(fields [][2]string) func() error {
	return k.with(nil, func(c *h2conn) error {
		s, err := c.open(fields, false)
		if err != nil {
			return err
		}
		_ = c.await("a verdict", patience, func() bool { return s.answered || s.reset != nil || len(c.goAways) > 0 })
		switch {
		case s.answered && !strings.HasPrefix(valueOf(s.headers, ":status"), "4"):
			return fmt.Errorf("answered %s", valueOf(s.headers, ":status"))
		case s.reset != nil && *s.reset != http2.ErrCodeProtocol && !s.answered:
			return fmt.Errorf("reset with %v", *s.reset)
		case !s.answered && s.reset == nil && len(c.goAways) == 0 && c.err == nil:
			return fmt.Errorf("no verdict")
		}
		return k.stillServes()
	})
}

// offence is a connection error: GOAWAY or a closed connection, and others are still served.
func (k *inboundCases) offence(commit func(*h2conn) error) func() error {
	return func() error {
		c, err := dialH2(k.flags.target, k.config, nil)
		if err != nil {
			return err
		}
		defer c.close()
		_ = commit(c)
		_ = c.await("the end of the connection", patience, func() bool { return len(c.goAways) > 0 })
		if len(c.goAways) == 0 && c.err == nil {
			return fmt.Errorf("the connection was left open")
		}
		if len(c.goAways) > 0 && c.goAways[0].ErrCode == http2.ErrCodeNo {
			return fmt.Errorf("GOAWAY(NO_ERROR) for an offence")
		}
		return k.stillServes()
	}
}

// flood may be answered by hanging up or by patience; others are served meanwhile and afterwards.
func (k *inboundCases) flood(commit func(*h2conn) error) func() error {
	return func() error {
		c, err := dialH2(k.flags.target, k.config, nil)
		if err != nil {
			return err
		}
		defer c.close()
		done := make(chan error, 1)
		go func() { done <- commit(c) }()
		if err := k.stillServes(); err != nil {
			return err
		}
		select {
		case err = <-done:
		case <-time.After(patience):
			err = fmt.Errorf("the flood is neither taken nor cut")
		}
		if err != nil {
			return err
		}
		return k.stillServes()
	}
}

// tls is what the handshake itself must be like from a well-meaning client.
func (k *inboundCases) tls() []check {
	changed := func(change func(*tls.Config)) *tls.Config {
		config := k.config.Clone()
		change(config)
		return config
	}
	return []check{
		{"tls-1.3-h2-aes", k.with(nil, func(c *h2conn) error {
			if c.state.Version != tls.VersionTLS13 || c.state.NegotiatedProtocol != "h2" {
				return fmt.Errorf("version %x, protocol %q", c.state.Version, c.state.NegotiatedProtocol)
			}
			if name := tls.CipherSuiteName(c.state.CipherSuite); !strings.Contains(name, "AES") {
				return fmt.Errorf("suite %s", name)
			}
			return nil
		})},
		{"tls-sends-no-root", k.with(nil, func(c *h2conn) error {
			for _, one := range c.state.PeerCertificates[1:] {
				if one.Subject.String() == one.Issuer.String() {
					return fmt.Errorf("the chain holds the root %s", one.Subject)
				}
			}
			return nil
		})},
		{"tls-1.2-is-refused", k.refusedTLS(changed(func(config *tls.Config) {
			config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		}))},
		{"alpn-http-1.1-is-refused", k.refusedTLS(changed(func(config *tls.Config) { config.NextProtos = []string{"http/1.1"} }))},
		{"no-client-certificate-is-refused", k.refusedTLS(changed(func(config *tls.Config) { config.Certificates = nil }))},
		{"curve-p256-only", func() error {
			config := changed(func(config *tls.Config) { config.CurvePreferences = []tls.CurveID{tls.CurveP256} })
			c, err := dialH2(k.flags.target, config, nil)
			if err != nil {
				return err
			}
			defer c.close()
			return k.echo(c)
		}},
		{"server-name-is-not-needed", func() error {
			config := changed(func(config *tls.Config) { config.ServerName = "anything.example" })
			c, err := dialH2(k.flags.target, config, nil)
			if err != nil {
				return err
			}
			defer c.close()
			return k.echo(c)
		}},
	}
}

// refusedTLS holds when nothing is served, whether the alert comes in the handshake or after it (TLS 1.3 clients finish first).
func (k *inboundCases) refusedTLS(config *tls.Config) func() error {
	return func() error {
		served, reason := tryOnce(&flags{target: k.flags.target, app: k.authority("app")}, config)
		if served {
			return fmt.Errorf("served")
		}
		if strings.Contains(reason, "nothing in") {
			return fmt.Errorf("neither served nor refused: %s", reason)
		}
		return k.stillServes()
	}
}

// drain ends the node with SIGTERM while a stream is open: GOAWAY, the stream finishes, a new one is refused.
func (k *inboundCases) drain() []check {
	if k.flags.pid == 0 {
		return nil
	}
	return []check{{"drain-lets-streams-finish", k.with(nil, func(c *h2conn) error {
		s, err := k.tunnel(c, "app")
		if err != nil {
			return err
		}
		if err := syscall.Kill(k.flags.pid, syscall.SIGTERM); err != nil {
			return err
		}
		if err := c.await("GOAWAY", patience, func() bool { return len(c.goAways) > 0 }); err != nil {
			return err
		}
		if code := c.goAways[0].ErrCode; code != http2.ErrCodeNo {
			return fmt.Errorf("GOAWAY with %v", code)
		}
		if err := s.send([]byte("echo\nlast words"), true); err != nil {
			return err
		}
		if got, err := s.awaitEnd(patience); err != nil || string(got) != "last words" {
			return fmt.Errorf("%q, %v", got, err)
		}
		late, err := dialH2(k.flags.target, k.config, nil)
		if err == nil {
			defer late.close()
			if k.echo(late) == nil {
				return fmt.Errorf("a connection made after SIGTERM is served")
			}
		}
		return nil
	})}}
}
