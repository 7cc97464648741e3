package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/http2"
)

func (k *inboundCases) flow() []check {
	const big = 64 * megabyte
	return []check{
		{"upload-64-mib", k.with(nil, func(c *h2conn) error { return k.count(c, big) })},
		{"download-64-mib-default-windows", k.with(nil, func(c *h2conn) error { return k.download(c, big) })},
		{"download-64-mib-large-windows", k.with(
			&h2options{initialWindow: 4 * megabyte, connectionWindow: 16 * megabyte, maxFrame: megabyte},
			func(c *h2conn) error { return k.download(c, big) },
		)},
		{"stream-window-of-one-byte", k.with(&h2options{initialWindow: 1}, func(c *h2conn) error {
			return k.download(c, 300)
		})},
		{"window-of-zero-then-granted", k.with(&h2options{settings: zeroWindow}, k.zeroWindow)},
		{"window-raised-by-settings", k.with(&h2options{settings: zeroWindow}, func(c *h2conn) error {
			c.initialWindow = 0
			s, err := k.tunnel(c, "banner")
			if err != nil {
				return err
			}
			s.receiveWindow += 1000
			err = c.write(func(w *http2.Framer) error {
				return w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
			})
			if err != nil {
				return err
			}
			_, err = s.awaitBytes(len(bannerText), patience)
			return err
		})},
		{"stalled-reader-blocks-no-other", k.with(&h2options{connectionWindow: 16 * megabyte}, func(c *h2conn) error {
			stalled, err := k.tunnel(c, "app")
			if err != nil {
				return err
			}
			stalled.greedy = false
			if err := stalled.send([]byte("send 8000000\n"), false); err != nil {
				return err
			}
			if _, err := stalled.awaitBytes(defaultWindow, patience); err != nil {
				return err
			}
			for range 20 {
				if err := k.echo(c); err != nil {
					return err
				}
			}
			if n := stalled.data.Len(); n != defaultWindow {
				return fmt.Errorf("%d bytes came, %d were granted", n, defaultWindow)
			}
			return nil
		})},
		// The far end does not read: our windows must run dry, and that within reason.
		{"stalled-application-stops-us", k.with(nil, func(c *h2conn) error {
			s, err := k.tunnel(c, "app")
			if err != nil {
				return err
			}
			if err := s.send([]byte("silent\n"), false); err != nil {
				return err
			}
			sent, chunk := 0, make([]byte, 16384)
			for sent < 256*megabyte {
				c.mu.Lock()
				dry := s.sendWindow < 16384 || c.sendWindow < 16384
				c.mu.Unlock()
				if dry {
					time.Sleep(200 * time.Millisecond)
					c.mu.Lock()
					dry = s.sendWindow < 16384 || c.sendWindow < 16384
					c.mu.Unlock()
					if dry {
						break
					}
				}
				if err := s.send(chunk, false); err != nil {
					return err
				}
				sent += len(chunk)
			}
			if sent >= 64*megabyte {
				return fmt.Errorf("took %d MiB for an application that does not read", sent/megabyte)
			}
			return k.echo(c)
		})},
		{"ping-under-load", k.with(&h2options{connectionWindow: 16 * megabyte}, func(c *h2conn) error {
			done := make(chan error, 1)
			go func() { done <- k.download(c, big) }()
			for range 10 {
				before := c.pongs
				err := c.write(func(w *http2.Framer) error { return w.WritePing(false, [8]byte{1, 2, 3}) })
				if err != nil {
					return err
				}
				if err := c.await("PING answer", patience, func() bool { return c.pongs > before }); err != nil {
					return err
				}
			}
			return <-done
		})},
	}
}

var zeroWindow = []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}

func (k *inboundCases) zeroWindow(c *h2conn) error {
	c.initialWindow = 0
	s, err := k.tunnel(c, "banner")
	if err != nil {
		return err
	}
	s.greedy = false
	time.Sleep(300 * time.Millisecond)
	if n := s.data.Len(); n > 0 {
		return fmt.Errorf("%d bytes came without a window", n)
	}
	if err := s.grant(4); err != nil {
		return err
	}
	if got, err := s.awaitBytes(4, patience); err != nil || string(got) != bannerText[:4] {
		return fmt.Errorf("%q, %v", got, err)
	}
	if err := s.grant(1000); err != nil {
		return err
	}
	_, err = s.awaitBytes(len(bannerText), patience)
	return err
}

// download asks for n bytes of the pattern.
func (k *inboundCases) download(c *h2conn, n int64) error {
	s, err := k.tunnel(c, "app")
	if err != nil {
		return err
	}
	if err := s.send(fmt.Appendf(nil, "send %d\n", n), true); err != nil {
		return err
	}
	got, err := s.awaitEnd(patience)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(got)
	if int64(len(got)) != n || !strings.EqualFold(hex.EncodeToString(sum[:]), patternSum(n)) {
		return fmt.Errorf("got %d of %d bytes, or the wrong ones", len(got), n)
	}
	return nil
}
