package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"

	"golang.org/x/net/http2"
)

// requestEvent is what an HBONE server saw of one CONNECT. The suite checks it.
type requestEvent struct {
	Event      string      `json:"event"`
	Connection int         `json:"connection"`
	Identity   string      `json:"identity"`
	ServerName string      `json:"serverName"`
	Protocol   string      `json:"protocol"`
	TLS        string      `json:"tls"`
	Authority  string      `json:"authority"`
	Fields     [][2]string `json:"fields"`
	// END_STREAM on HEADERS; only the scripted server can tell.
	EndStream bool `json:"endStream"`
}

func newRequestEvent(state tls.ConnectionState, connection int, authority string) requestEvent {
	event := requestEvent{
		Event: "request", Connection: connection, ServerName: state.ServerName, Protocol: state.NegotiatedProtocol,
		TLS: tls.VersionName(state.Version), Authority: authority,
	}
	if len(state.PeerCertificates) > 0 && len(state.PeerCertificates[0].URIs) > 0 {
		event.Identity = state.PeerCertificates[0].URIs[0].String()
	}
	return event
}

// acceptTLS hands on connections whose handshake is done. A failed one is an event: the suite wants to know.
func acceptTLS(f *flags, serve func(*tls.Conn, int)) error {
	config, err := f.serverTLS()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	emit(appEvent{Event: "ready"})
	for number := 1; ; number++ {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			secured := tls.Server(conn, config)
			if err := secured.Handshake(); err != nil {
				emit(map[string]any{"event": "handshake-failed", "connection": number, "error": err.Error()})
				_ = conn.Close()
				return
			}
			emit(map[string]any{"event": "connection", "connection": number})
			serve(secured, number)
		}()
	}
}

// runServer is Go's own HTTP/2 server: CONNECT to the application named by :authority.
func runServer(f *flags) error {
	return acceptTLS(f, func(conn *tls.Conn, number int) {
		state := conn.ConnectionState()
		server := &http2.Server{MaxConcurrentStreams: 200}
		server.ServeConn(conn, &http2.ServeConnOpts{
			BaseConfig: &http.Server{},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				event := newRequestEvent(state, number, r.Host)
				for name, values := range r.Header {
					for _, value := range values {
						event.Fields = append(event.Fields, [2]string{http.CanonicalHeaderKey(name), value})
					}
				}
				emit(event)
				proxyConnect(f, w, r)
			}),
		})
	})
}

func proxyConnect(f *flags, w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if _, port, _ := net.SplitHostPort(r.Host); port == f.portOf("denied") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	upstream, err := net.DialTimeout("tcp", r.Host, patience)
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer upstream.Close()
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.Flush()
	go func() {
		_, err := io.Copy(upstream, r.Body)
		if err != nil {
			_ = upstream.(*net.TCPConn).SetLinger(0)
			_ = upstream.Close()
			return
		}
		_ = upstream.(*net.TCPConn).CloseWrite()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := upstream.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				break
			}
			_ = out.Flush()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	// Go's server ends the stream when the handler returns, and with it the other direction: that an application ends first
	// and still listens is tried on the scripted server.
}
