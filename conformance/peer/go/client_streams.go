package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const megabyte = 1 << 20

func (k *inboundCases) streams() []check {
	return []check{
		{"half-close-by-client", k.with(nil, func(c *h2conn) error {
			return k.count(c, megabyte)
		})},
		{"half-close-by-application", k.with(nil, func(c *h2conn) error {
			s, err := k.tunnel(c, "app")
			if err != nil {
				return err
			}
			if err := s.send([]byte("bye\n"), false); err != nil {
				return err
			}
			if got, err := s.awaitEnd(patience); err != nil || string(got) != "bye\n" {
				return fmt.Errorf("%q, %v", got, err)
			}
			// The other direction is still open; the application says what it got, see "bye" in the suite.
			payload := make([]byte, 256<<10)
			_, _ = pattern(int64(len(payload))).Read(payload)
			if err := s.send(payload, true); err != nil {
				return err
			}
			time.Sleep(300 * time.Millisecond)
			if s.reset != nil && *s.reset != http2.ErrCodeNo {
				return fmt.Errorf("reset %v after a clean end", *s.reset)
			}
			return nil
		})},
		{"application-resets", k.with(nil, func(c *h2conn) error {
			s, err := k.tunnel(c, "app")
			if err != nil {
				return err
			}
			if err := s.send([]byte("reset\n"), false); err != nil {
				return err
			}
			if _, err := s.awaitBytes(len("resetting\n"), patience); err != nil {
				return err
			}
			err = c.await("the end of the stream", patience, func() bool { return s.ended || s.reset != nil })
			if err != nil {
				return err
			}
			return k.echo(c)
		})},
		{"client-resets", k.with(nil, func(c *h2conn) error {
			s, err := k.tunnel(c, "app")
			if err != nil {
				return err
			}
			if err := s.send([]byte("hold\nsome bytes"), false); err != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
			if err := s.sendReset(http2.ErrCodeCancel); err != nil {
				return err
			}
			return k.echo(c)
		})},
		{"cancelled-downloads-do-not-stop-the-connection", k.with(
			&h2options{initialWindow: 4 * megabyte, connectionWindow: 16 * megabyte, maxFrame: megabyte}, k.cancelDownloads,
		)},
		{"data-before-the-answer", k.with(nil, func(c *h2conn) error {
			s, err := c.connect(k.authority("app"))
			if err != nil {
				return err
			}
			if err := s.send([]byte("echo\nearly"), true); err != nil {
				return err
			}
			got, err := s.awaitEnd(patience)
			if err == nil && string(got) != "early" {
				err = fmt.Errorf("%q", got)
			}
			return err
		})},
		{"hundred-streams-at-once", k.with(nil, func(c *h2conn) error {
			return k.atOnce(100, func() error { return k.count(c, 20_000) })
		})},
		{"advertises-hundred-streams", k.with(nil, func(c *h2conn) error {
			if err := k.echo(c); err != nil {
				return err
			}
			if n := c.peerSetting(http2.SettingMaxConcurrentStreams, 1<<31); n < 100 {
				return fmt.Errorf("SETTINGS_MAX_CONCURRENT_STREAMS is %d", n)
			}
			return nil
		})},
		{"stream-over-the-limit-is-refused", k.with(nil, k.overTheLimit)},
		{"thousand-streams-in-turn", k.with(nil, func(c *h2conn) error {
			for range 1000 {
				if err := k.echo(c); err != nil {
					return err
				}
			}
			return nil
		})},
		{"fifty-connections-at-once", func() error {
			return k.atOnce(50, k.with(nil, k.echo))
		}},
	}
}

func (k *inboundCases) atOnce(n int, run func() error) error {
	results := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Add(1)
		go func() {
			defer group.Done()
			results[i] = run()
		}()
	}
	group.Wait()
	for i, err := range results {
		if err != nil {
			return fmt.Errorf("number %d: %w", i, err)
		}
	}
	return nil
}

// count sends n bytes, ends its side, and checks what the application says it got.
func (k *inboundCases) count(c *h2conn, n int64) error {
	s, err := k.tunnel(c, "app")
	if err != nil {
		return err
	}
	payload := make([]byte, n)
	_, _ = pattern(n).Read(payload)
	if err := s.send(append([]byte("count\n"), payload...), true); err != nil {
		return err
	}
	got, err := s.awaitEnd(patience)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%d %s", n, patternSum(n)); strings.TrimSpace(string(got)) != want {
		return fmt.Errorf("application got %q, sent %q", got, want)
	}
	return nil
}

// overTheLimit opens one stream more than the node said it takes.
func (k *inboundCases) overTheLimit(c *h2conn) error {
	if err := c.await("SETTINGS", patience, func() bool { return len(c.settings) > 0 }); err != nil {
		return err
	}
	limit := c.peerSetting(http2.SettingMaxConcurrentStreams, 0)
	if limit == 0 || limit > 2000 {
		return fmt.Errorf("limit is %d", limit)
	}
	held := make([]*h2stream, 0, limit)
	for range limit {
		s, err := k.tunnel(c, "app")
		if err != nil {
			return fmt.Errorf("stream %d of %d: %w", len(held), limit, err)
		}
		held = append(held, s)
	}
	over, err := c.connect(k.authority("app"))
	if err != nil {
		return err
	}
	if status, err := over.awaitStatus(patience); err == nil {
		return fmt.Errorf("status %d for stream %d", status, limit+1)
	}
	if over.reset == nil || (*over.reset != http2.ErrCodeRefusedStream && *over.reset != http2.ErrCodeProtocol) {
		return fmt.Errorf("not REFUSED_STREAM (RFC 9113 §5.1.2): %v", over.reset)
	}
	if err := held[0].sendReset(http2.ErrCodeCancel); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	return k.echo(c)
}

// cancelDownloads cuts streams while the node has output waiting for the socket and for windows; whatever state that is, the
// next stream finds the connection working.
func (k *inboundCases) cancelDownloads(c *h2conn) error {
	for i := range 40 {
		s, err := k.tunnel(c, "app")
		if err != nil {
			return fmt.Errorf("tunnel %d: %w", i, err)
		}
		if err := s.send([]byte("send 100000000\n"), false); err != nil {
			return err
		}
		if _, err := s.awaitBytes(i*200_000, patience); err != nil {
			return fmt.Errorf("download %d: %w", i, err)
		}
		if err := s.sendReset(http2.ErrCodeCancel); err != nil {
			return err
		}
		c.mu.Lock()
		s.data.Reset()
		c.mu.Unlock()
		if err := k.echo(c); err != nil {
			return fmt.Errorf("after cancelled download %d: %w", i, err)
		}
	}
	return nil
}
