package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// runScriptedCalls are the client application's side of the scripted server.
func runScriptedCalls(f *flags) error {
	k := &callCases{f}
	checks := []check{
		{"echo", func() error { return k.exchange("echo", "hello", "hello") }},
		{"interim-answer-is-skipped", func() error { return k.exchange("interim", "x", "x") }},
		{"reset-cancel-delivers-and-ends", func() error { return k.receives("cancel", "partial") }},
		{"reset-no-error-delivers-and-ends", func() error { return k.receives("noerr", "partial") }},
		{"reset-internal-error-ends", func() error { return k.receives("ierr", "partial") }},
		{"refused-stream-closes", func() error { return k.closedWithoutByte("refuse") }},
		{"goaway-lets-the-stream-finish", func() error { return k.exchange("goaway", "through", "through") }},
		{"after-goaway-a-new-connection", func() error { return k.exchange("echo", "again", "again") }},
		{"half-close-by-server", func() error { return k.bye("bye") }},
		{"connection-lost-ends", func() error { return k.receives("drop", "partial") }},
		{"after-loss-a-new-connection", func() error { return k.exchange("echo", "again", "again") }},
		{"trailers-end", func() error { return k.receives("trailers", "before") }},
		{"padding-is-removed", func() error { return k.receives("padded", "padded") }},
		{"push-is-refused", func() error { return k.closedWithoutByte("push") }},
		{"garbage-closes", func() error { return k.closedWithoutByte("garbage") }},
		{"window-overrun-closes", k.overrun},
		{"after-offences-a-new-connection", func() error { return k.exchange("echo", "again", "again") }},
		{"ping-is-answered", func() error { return k.exchange("ping", "pong", "pong") }},
		{"settings-changed-on-the-way", func() error { return k.bulk("smaller", 2*megabyte) }},
		{"bulk-both-ways", func() error { return k.bulk("echo", 16*megabyte) }},
		{"stalled-server-stops-the-client", k.stall},
		{"client-gives-up-on-silence", k.givesUp},
		{"twenty-at-once-over-limited-streams", func() error {
			return (&inboundCases{}).atOnce(20, func() error { return k.exchange("echo", "many", "many") })
		}},
	}
	for _, status := range []string{"401", "403", "404", "503"} {
		checks = append(checks, check{"status-" + status + "-closes", func() error { return k.closedWithoutByte("s" + status) }})
	}
	runChecks(checks, f)
	return nil
}

func (k *callCases) exchange(port, send, want string) error {
	conn, err := k.dial(port)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, send); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	if err == nil && string(got) != want {
		err = fmt.Errorf("%q", got)
	}
	return err
}

// receives gets these bytes, then the end; whether by FIN or by RST is the node's choice.
func (k *callCases) receives(port, want string) error {
	conn, err := k.dial(port)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	if isTimeout(err) {
		return fmt.Errorf("%q, and then left open", got)
	}
	if string(got) != want {
		return fmt.Errorf("%q, %v", got, err)
	}
	return nil
}

func (k *callCases) bulk(port string, n int64) error {
	conn, err := k.dial(port)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, pattern(n))
		_ = conn.CloseWrite()
	}()
	got, sum := digest(conn)
	if got != n || sum != patternSum(n) {
		return fmt.Errorf("%d of %d bytes came back, or the wrong ones", got, n)
	}
	return nil
}

func (k *callCases) overrun() error {
	conn, err := k.dial("overrun")
	if err != nil {
		return err
	}
	defer conn.Close()
	// Not reading: only the node's own window stands between the server and its memory.
	time.Sleep(time.Second)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	n, err := io.Copy(io.Discard, conn)
	if isTimeout(err) {
		return fmt.Errorf("left open after %d bytes", n)
	}
	if n >= 60*megabyte {
		return fmt.Errorf("%d bytes came through against the window", n)
	}
	return nil
}

func (k *callCases) stall() error {
	conn, err := k.dial("stall")
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(1500 * time.Millisecond))
	n, err := io.Copy(conn, pattern(512*megabyte))
	if err == nil || (!isTimeout(err) && !strings.Contains(err.Error(), "timeout")) {
		return fmt.Errorf("wrote %d bytes to a server that does not read: %v", n, err)
	}
	if n > 64*megabyte {
		return fmt.Errorf("the node took %d MiB", n/megabyte)
	}
	return nil
}

// givesUp: the application leaves while CONNECT is unanswered; the server sees the stream cancelled (event "gave-up").
func (k *callCases) givesUp() error {
	conn, err := k.dial("mute")
	if err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	_ = conn.SetLinger(0)
	_ = conn.Close()
	time.Sleep(700 * time.Millisecond)
	return k.exchange("echo", "after", "after")
}
