package main

import (
	"fmt"
	"net/netip"
	"syscall"
)

// ipBindAddressNoPort is Linux's IP_BIND_ADDRESS_NO_PORT, which package syscall does not name.
const ipBindAddressNoPort = 24

// Sockets are plain file descriptors driven by epoll: goroutines would cost a wake-up across threads for each event.

func sockaddr(text string) (syscall.Sockaddr, int, error) {
	address, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, 0, err
	}
	if address.Addr().Is4() {
		return &syscall.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}, syscall.AF_INET, nil
	}
	return &syscall.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()}, syscall.AF_INET6, nil
}

func listenSocket(text string) (int, error) {
	address, family, err := sockaddr(text)
	if err != nil {
		return 0, err
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err := syscall.Bind(fd, address); err != nil {
		return 0, fmt.Errorf("bind %s: %w", text, err)
	}
	return fd, syscall.Listen(fd, 4096)
}

// sourceAddresses are count addresses, from the first one on.
func sourceAddresses(first string, count int) ([]syscall.Sockaddr, error) {
	if count == 0 {
		return nil, nil
	}
	address, err := netip.ParseAddr(first)
	if err != nil {
		return nil, err
	}
	sources := make([]syscall.Sockaddr, 0, count)
	for range count {
		source, _, err := sockaddr(netip.AddrPortFrom(address, 0).String())
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
		address = address.Next()
	}
	return sources, nil
}

// connectSocket starts a connect; it is done when the socket is writable. A nil source is the kernel's choice.
func connectSocket(address syscall.Sockaddr, family int, source syscall.Sockaddr) (int, error) {
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if source != nil {
		// The port is chosen when it is known where to, so that each address has all of them for each target.
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
		if err := syscall.Bind(fd, source); err != nil {
			_ = syscall.Close(fd)
			return 0, err
		}
	}
	if err := syscall.Connect(fd, address); err != nil && err != syscall.EINPROGRESS {
		_ = syscall.Close(fd)
		return 0, err
	}
	return fd, nil
}

type poller struct {
	fd     int
	events [512]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &poller{fd: fd}, err
}

func (p *poller) add(fd int, events uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

func (p *poller) change(fd int, events uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// wait returns no events after timeoutMs, or when a signal came.
func (p *poller) wait(timeoutMs int) ([]syscall.EpollEvent, error) {
	n, err := syscall.EpollWait(p.fd, p.events[:], timeoutMs)
	if err == syscall.EINTR {
		return nil, nil
	}
	return p.events[:max(n, 0)], err
}
