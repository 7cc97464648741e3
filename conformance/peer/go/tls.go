package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
)

// identity loads what this peer shows; no certificate at all when -cert is empty.
func (f *flags) identity() ([]tls.Certificate, *x509.CertPool, error) {
	var certificates []tls.Certificate
	if f.cert != "" {
		one, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, nil, err
		}
		certificates = append(certificates, one)
	}
	pem, err := os.ReadFile(f.root)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s: no certificate", f.root)
	}
	return certificates, roots, nil
}

// clientTLS verifies by Go's own path validation and the SPIFFE ID, since mesh certificates name no host.
func (f *flags) clientTLS() (*tls.Config, error) {
	certificates, roots, err := f.identity()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: certificates,
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2"},
		// Replaced by VerifyConnection: the library can only compare host names.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return f.verify(state, roots, x509.ExtKeyUsageServerAuth)
		},
	}, nil
}

func (f *flags) serverTLS() (*tls.Config, error) {
	certificates, roots, err := f.identity()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:           certificates,
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              roots,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return f.verify(state, roots, x509.ExtKeyUsageClientAuth)
		},
	}, nil
}

func (f *flags) verify(state tls.ConnectionState, roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("no certificate")
	}
	leaf := state.PeerCertificates[0]
	intermediates := x509.NewCertPool()
	for _, one := range state.PeerCertificates[1:] {
		intermediates.AddCert(one)
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}}
	if _, err := leaf.Verify(options); err != nil {
		return err
	}
	if len(leaf.URIs) != 1 {
		return fmt.Errorf("%d URI names", len(leaf.URIs))
	}
	if got := leaf.URIs[0].String(); f.expect != "" && got != f.expect {
		return fmt.Errorf("identity %s, expected %s", got, f.expect)
	}
	return nil
}

// tally is what came of many tries.
type tally struct {
	Tries   int            `json:"tries"`
	Served  int            `json:"served"`
	Reasons map[string]int `json:"reasons"`
}

// runTries asks for a tunnel again and again. Served means a 200, or a byte of the application.
func runTries(f *flags) error {
	config, err := f.clientTLS()
	if err != nil {
		return err
	}
	result := tally{Tries: f.tries, Reasons: map[string]int{}}
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, f.parallel)
	for range f.tries {
		slots <- struct{}{}
		group.Add(1)
		go func() {
			defer group.Done()
			served, reason := tryOnce(f, config)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			if served {
				result.Served++
			}
			result.Reasons[reason]++
		}()
	}
	group.Wait()
	emit(result)
	return nil
}

func tryOnce(f *flags, config *tls.Config) (bool, string) {
	c, err := dialH2(f.target, config, nil)
	if err != nil {
		return false, reasonOf(err)
	}
	defer c.close()
	s, err := c.connect(f.app)
	if err != nil {
		return false, reasonOf(err)
	}
	status, err := s.awaitStatus(patience)
	if err != nil {
		return false, reasonOf(err)
	}
	return status == 200, fmt.Sprintf("status %d", status)
}

// reasonOf drops addresses, so that equal reasons count together.
func reasonOf(err error) string {
	if op, ok := err.(*net.OpError); ok {
		return op.Err.Error()
	}
	return err.Error()
}
