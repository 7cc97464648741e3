package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// callCases are the client application's checks: it knows nothing of a mesh and calls plain TCP.
type callCases struct{ flags *flags }

func runCalls(f *flags) error {
	k := &callCases{f}
	checks := []check{
		{"echo", k.echo},
		{"application-speaks-first", k.banner},
		{"half-close-by-client", func() error { return k.count(megabyte) }},
		{"half-close-by-application", func() error { return k.bye("app") }},
		{"upload-64-mib", func() error { return k.count(64 * megabyte) }},
		{"download-64-mib", func() error { return k.download(64*megabyte, false) }},
		{"download-64-mib-after-half-close", func() error { return k.download(64*megabyte, true) }},
		{"hundred-connections-at-once", func() error {
			return (&inboundCases{}).atOnce(100, func() error { return k.count(20_000) })
		}},
		{"five-hundred-connections-in-turn", func() error {
			for i := range 500 {
				if err := k.echo(); err != nil {
					return fmt.Errorf("connection %d: %w", i, err)
				}
			}
			return nil
		}},
		{"application-resets", k.resets},
		{"client-leaves", k.leaves},
		{"client-leaves-downloads", k.leavesDownloads},
		{"application-down-closes", func() error { return k.closedWithoutByte("closed") }},
		{"denied-by-policy-closes", func() error { return k.closedWithoutByte("denied") }},
		{"still-serves", k.echo},
	}
	for range f.repeat {
		runChecks(checks, f)
	}
	return nil
}

// dial takes the address from -ports: name=ip:port there.
func (k *callCases) dial(port string) (*net.TCPConn, error) {
	conn, err := net.DialTimeout("tcp", k.flags.portOf(port), patience)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(5 * patience))
	return conn.(*net.TCPConn), nil
}

func (k *callCases) echo() error {
	conn, err := k.dial("app")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "echo\nhello"); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err == nil && string(got) != "hello" {
		err = fmt.Errorf("echoed %q", got)
	}
	return err
}

func (k *callCases) banner() error {
	conn, err := k.dial("banner")
	if err != nil {
		return err
	}
	defer conn.Close()
	got := make([]byte, len(bannerText))
	_, err = io.ReadFull(conn, got)
	if err == nil && string(got) != bannerText {
		err = fmt.Errorf("%q", got)
	}
	return err
}

func (k *callCases) count(n int64) error {
	conn, err := k.dial("app")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "count\n"); err != nil {
		return err
	}
	if _, err := io.Copy(conn, pattern(n)); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%d %s", n, patternSum(n)); strings.TrimSpace(string(got)) != want {
		return fmt.Errorf("application got %q, sent %q", got, want)
	}
	return nil
}

func (k *callCases) download(n int64, halfClose bool) error {
	conn, err := k.dial("app")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "send %d\n", n); err != nil {
		return err
	}
	// Envoy resets an exchange whose response ends before its request (INTERNAL_ERROR), and what it still held is lost then; whether
	// that loses anything is a race. `bye` is the case in which the application ends first.
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	if halfClose {
		if err := conn.CloseWrite(); err != nil {
			return err
		}
	}
	got, sum := digest(conn)
	if got != n || sum != patternSum(n) {
		return fmt.Errorf("got %d of %d bytes, or the wrong ones", got, n)
	}
	return nil
}

// bye: the application ends first; what is sent after that still reaches it (the suite looks at the application's event).
func (k *callCases) bye(port string) error {
	conn, err := k.dial(port)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "bye\n"); err != nil {
		return err
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "bye\n" {
		return fmt.Errorf("%q, %v", got, err)
	}
	if _, err := io.Copy(conn, pattern(256<<10)); err != nil {
		return err
	}
	return conn.CloseWrite()
}

func (k *callCases) resets() error {
	conn, err := k.dial("app")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "reset\n"); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	if isTimeout(err) {
		return fmt.Errorf("still open after the application's reset")
	}
	if !bytes.HasPrefix([]byte("resetting\n"), got) {
		return fmt.Errorf("%q", got)
	}
	return nil
}

// leaves: aborted by the client with data under way; others are not disturbed.
func (k *callCases) leaves() error {
	conn, err := k.dial("app")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "hold\nsome bytes"); err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond)
	_ = conn.SetLinger(0)
	_ = conn.Close()
	return k.echo()
}

// leavesDownloads: gone in the middle of much data, again and again; the tunnel below goes on carrying others.
func (k *callCases) leavesDownloads() error {
	for i := range 30 {
		conn, err := k.dial("app")
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "send 200000000\n"); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, conn, int64(i)*megabyte+1); err != nil {
			return fmt.Errorf("download %d: %w", i, err)
		}
		_ = conn.Close()
		if err := k.echo(); err != nil {
			return fmt.Errorf("after leaving download %d: %w", i, err)
		}
	}
	return nil
}

// closedWithoutByte is how a client application meets a refusal: connected, then closed, and nothing in between.
func (k *callCases) closedWithoutByte(port string) error {
	conn, err := k.dial(port)
	if err != nil {
		return nil // Refused outright is as good.
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "echo\nsecret")
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	if isTimeout(err) {
		return fmt.Errorf("not closed")
	}
	if len(got) > 0 {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
