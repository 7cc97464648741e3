package main

import (
	"bytes"
	"fmt"
	"net"
	"syscall"
)

var (
	headEnd  = []byte("\r\n\r\n")
	response = []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 128\r\n\r\n" +
		"................................................................" +
		"...............................................................\n")
	request = []byte("GET /item/42 HTTP/1.1\r\nhost: db.shop.svc.cluster.local\r\nuser-agent: load\r\naccept: */*\r\n\r\n")
)

// serveHTTP answers each request head with the same response. Requests have no bodies and come one at a time.
func serveHTTP(listen string) error {
	listener, err := listenSocket(listen)
	if err != nil {
		return err
	}
	poll, err := newPoller()
	if err != nil {
		return err
	}
	if err := poll.add(listener, syscall.EPOLLIN); err != nil {
		return err
	}
	fmt.Println("ready")
	buffer := make([]byte, 64<<10)
	// A head may come in pieces: what is matched so far of the four bytes that end it, for each descriptor.
	matched := map[int]int{}
	for {
		events, err := poll.wait(-1)
		if err != nil {
			return err
		}
		for _, event := range events {
			fd := int(event.Fd)
			if fd == listener {
				acceptAll(poll, listener)
				continue
			}
			answer(fd, buffer, matched)
		}
	}
}

func acceptAll(poll *poller, listener int) {
	for {
		fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		_ = poll.add(fd, syscall.EPOLLIN)
	}
}

func answer(fd int, buffer []byte, matched map[int]int) {
	n, err := syscall.Read(fd, buffer)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	if n <= 0 {
		delete(matched, fd)
		_ = syscall.Close(fd)
		return
	}
	chunk := buffer[:n]
	if matched[fd] == 0 && bytes.HasSuffix(chunk, headEnd) {
		_, _ = syscall.Write(fd, response)
		return
	}
	at := matched[fd]
	for _, b := range chunk {
		if b == headEnd[at] {
			at++
		} else if b == headEnd[0] {
			at = 1
		} else {
			at = 0
		}
		if at == len(headEnd) {
			at = 0
			_, _ = syscall.Write(fd, response)
		}
	}
	matched[fd] = at
}

// serveBulk reads one byte that says which way the bytes go.
func serveBulk(listen string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buffer := make([]byte, bulkBlock)
			if _, err := conn.Read(buffer[:1]); err != nil {
				return
			}
			if buffer[0] == 'D' {
				for err == nil {
					_, err = conn.Write(buffer)
				}
				return
			}
			for err == nil {
				_, err = conn.Read(buffer)
			}
		}()
	}
}
