package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"golang.org/x/net/websocket"
)

const (
	large  = 20_000_000
	events = 3
)

// application answers with what it saw.
func application() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/seen", seen)
	mux.HandleFunc("/large", sendLarge)
	mux.HandleFunc("/hints", hints)
	mux.HandleFunc("/events", sendEvents)
	mux.HandleFunc("/echo", echo)
	var cancelled atomic.Int64
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		cancelled.Add(1)
	})
	mux.HandleFunc("/cancelled", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, cancelled.Load())
	})
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusExpectationFailed)
	})
	mux.HandleFunc("/break", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.Handle("/socket", websocket.Handler(func(socket *websocket.Conn) {
		_, _ = io.Copy(socket, socket)
	}))
	return mux
}

// seen says method, length and digest of the content, and the trailers, which it also sends.
func seen(w http.ResponseWriter, r *http.Request) {
	digest := sha256.New()
	length, err := io.Copy(digest, r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Trailer", "X-After")
	w.Header().Set("X-Application", "go")
	fmt.Fprintf(w, "%s %d %x %s", r.Method, length, digest.Sum(nil)[:4], r.Trailer.Get("X-Before"))
	w.Header().Set("X-After", "said")
}

func sendLarge(w http.ResponseWriter, _ *http.Request) {
	piece := make([]byte, 50_000)
	for i := range piece {
		piece[i] = byte(i * 7)
	}
	for sent := 0; sent < large; sent += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

func hints(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	fmt.Fprint(w, "after hints")
}

// sendEvents waits for a line of the request before each event but the first, so that nothing that gathers can pass.
func sendEvents(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	w.Header().Set("Content-Type", "text/event-stream")
	lines := bufio.NewScanner(r.Body)
	for i := range events {
		fmt.Fprintf(w, "data: %d\n\n", i)
		_ = control.Flush()
		if !lines.Scan() {
			return
		}
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	_ = control.Flush()
	buffer := make([]byte, 4096)
	for {
		n, err := r.Body.Read(buffer)
		if n > 0 {
			_, _ = w.Write(buffer[:n])
			_ = control.Flush()
		}
		if err != nil {
			return
		}
	}
}
