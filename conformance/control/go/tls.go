package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// Mutual TLS between two ends that both live from the Workload API: one connection a line of standard input, with the
// serial number that the server showed. What is rotated meanwhile must be in the next one.
func mutualTLS(ctx context.Context, socket string, identity string) error {
	id, err := spiffeid.FromString(identity)
	if err != nil {
		return err
	}
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(socket)))
	if err != nil {
		return err
	}
	defer source.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(id)))
	if err != nil {
		return err
	}
	defer listener.Close()
	go serveEcho(listener)
	say(report{"event": "ready"})
	client := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(id))
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		serial, err := connectOnce(listener.Addr().String(), client)
		if err != nil {
			say(report{"event": "connection", "problem": err.Error()})
			continue
		}
		say(report{"event": "connection", "serial": serial, "problem": ""})
	}
	return nil
}

func serveEcho(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			_, _ = io.Copy(connection, connection)
		}()
	}
}

func connectOnce(address string, config *tls.Config) (string, error) {
	connection, err := tls.Dial("tcp", address, config)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if _, err := connection.Write([]byte("x")); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(connection, make([]byte, 1)); err != nil {
		return "", err
	}
	return connection.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
}
