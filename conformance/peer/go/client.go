package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// inboundCases are an HBONE client's checks of an inbound node.
type inboundCases struct {
	flags  *flags
	config *tls.Config
	host   string
}

func runClient(f *flags) error {
	config, err := f.clientTLS()
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(f.target)
	if err != nil {
		return err
	}
	k := &inboundCases{f, config, host}
	checks := append(k.answers(), k.streams()...)
	checks = append(checks, k.flow()...)
	checks = append(checks, k.oddities()...)
	checks = append(checks, k.tls()...)
	// Last: it ends the node.
	runChecks(append(checks, k.drain()...), f)
	return nil
}

func (k *inboundCases) authority(port string) string {
	return net.JoinHostPort(k.host, k.flags.portOf(port))
}

// with opens a connection for one case and looks at its end whether the peer kept to the protocol.
func (k *inboundCases) with(o *h2options, body func(*h2conn) error) func() error {
	return func() error {
		c, err := dialH2(k.flags.target, k.config, o)
		if err != nil {
			return err
		}
		defer c.close()
		if err := body(c); err != nil {
			return err
		}
		return c.clean()
	}
}

// tunnel is a stream that was answered with 200.
func (k *inboundCases) tunnel(c *h2conn, port string) (*h2stream, error) {
	s, err := c.connect(k.authority(port))
	if err != nil {
		return nil, err
	}
	status, err := s.awaitStatus(patience)
	if err != nil {
		return nil, err
	}
	if status != 200 {
		return nil, fmt.Errorf("status %d", status)
	}
	return s, nil
}

// echo proves that a connection still carries bytes both ways.
func (k *inboundCases) echo(c *h2conn) error {
	s, err := k.tunnel(c, "app")
	if err != nil {
		return err
	}
	if err := s.send([]byte("echo\nhello"), true); err != nil {
		return err
	}
	got, err := s.awaitEnd(patience)
	if err == nil && string(got) != "hello" {
		err = fmt.Errorf("echoed %q", got)
	}
	return err
}

// stillServes is how cases that offend end: the node has survived.
func (k *inboundCases) stillServes() error {
	if err := k.with(nil, k.echo)(); err != nil {
		return fmt.Errorf("the node does not serve afterwards: %w", err)
	}
	return nil
}

// refusal expects one of these statuses with END_STREAM and no byte.
func (k *inboundCases) refusal(fields [][2]string, statuses ...int) func() error {
	return k.with(nil, func(c *h2conn) error {
		s, err := c.open(fields, false)
		if err != nil {
			return err
		}
		status, err := s.awaitStatus(patience)
		if err != nil {
			return err
		}
		found := false
		for _, one := range statuses {
			found = found || one == status
		}
		if !found {
			return fmt.Errorf("status %d, expected %v", status, statuses)
		}
		got, err := s.awaitEnd(patience)
		if err == nil && len(got) > 0 {
			err = fmt.Errorf("%d bytes with the refusal", len(got))
		}
		return err
	})
}

func (k *inboundCases) answers() []check {
	return []check{
		{"echo", k.with(nil, k.echo)},
		{"ok-has-no-end-stream", k.with(nil, func(c *h2conn) error {
			s, err := k.tunnel(c, "app")
			if err == nil && s.ended {
				err = fmt.Errorf("END_STREAM with the 200")
			}
			return err
		})},
		{"ok-describes-destination", k.with(nil, func(c *h2conn) error {
			s, err := k.tunnel(c, "app")
			if err != nil {
				return err
			}
			baggage := valueOf(s.headers, "baggage")
			if !strings.Contains(baggage, "k8s.namespace.name=shop") {
				return fmt.Errorf("baggage %q", baggage)
			}
			return nil
		})},
		{"application-speaks-first", k.with(nil, func(c *h2conn) error {
			s, err := k.tunnel(c, "banner")
			if err != nil {
				return err
			}
			got, err := s.awaitBytes(len(bannerText), patience)
			if err == nil && string(got) != bannerText {
				err = fmt.Errorf("%q", got)
			}
			return err
		})},
		{"denied-by-policy-401", k.refusal(connectFields(k.authority("denied")), 401)},
		{"application-down-503", k.refusal(connectFields(k.authority("closed")), 503)},
		{"own-port-503", k.refusal(connectFields(net.JoinHostPort(k.host, "15008")), 503, 401)},
		{"other-address-400", k.refusal(connectFields("10.77.0.99:"+k.flags.portOf("app")), 400)},
		{"authority-without-port-400", k.refusal(connectFields(k.host), 400)},
		{"authority-nonsense-is-malformed", k.malformed(connectFields("::::"))},
		{"unknown-hostname-503", k.refusal(connectFields("nowhere.shop.svc.cluster.local:80"), 503)},
		{"not-connect-400", k.refusal([][2]string{
			{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {":authority", k.authority("app")},
		}, 400)},
	}
}
