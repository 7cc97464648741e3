package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// The application obeys the first line it reads:
//
//	echo      everything back until end of file
//	count     read to end of file, then say how many bytes and their SHA-256
//	send N    N bytes of a known pattern, then close
//	bye       say "bye", half-close, and report what still comes
//	reset     abort the connection
//	hold      read and answer nothing
//	silent    neither read nor answer
type appEvent struct {
	Event  string `json:"event"`
	Port   int    `json:"port"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256,omitempty"`
}

func runApp(f *flags) error {
	for _, address := range strings.Split(f.listen, ",") {
		if err := listenTCP(address, serveCommands); err != nil {
			return err
		}
	}
	if f.banner != "" {
		err := listenTCP(f.banner, func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, bannerText)
			_, _ = io.Copy(conn, conn)
		})
		if err != nil {
			return err
		}
	}
	emit(appEvent{Event: "ready"})
	select {}
}

const bannerText = "220 ready\n"

func listenTCP(address string, serve func(*net.TCPConn)) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			emit(appEvent{Event: "accept", Port: port})
			go func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			}()
		}
	}()
	return nil
}

func serveCommands(conn *net.TCPConn) {
	reader := bufio.NewReaderSize(conn, 128<<10)
	line, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	port := conn.LocalAddr().(*net.TCPAddr).Port
	words := strings.Fields(line)
	switch words[0] {
	case "echo":
		_, _ = io.Copy(conn, reader)
	case "count":
		n, sum := digest(reader)
		fmt.Fprintf(conn, "%d %s\n", n, sum)
	case "send":
		n, _ := strconv.ParseInt(words[1], 10, 64)
		_, _ = io.Copy(conn, pattern(n))
	case "bye":
		_, _ = io.WriteString(conn, "bye\n")
		_ = conn.CloseWrite()
		n, sum := digest(reader)
		emit(appEvent{"bye", port, n, sum})
	case "reset":
		_, _ = io.WriteString(conn, "resetting\n")
		time.Sleep(50 * time.Millisecond)
		_ = conn.SetLinger(0)
	case "hold":
		n, sum := digest(reader)
		emit(appEvent{"held", port, n, sum})
	case "silent":
		time.Sleep(20 * time.Second)
	}
}

func digest(reader io.Reader) (int64, string) {
	sum := sha256.New()
	n, _ := io.Copy(sum, reader)
	return n, hexSum(sum)
}

func hexSum(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

// patternReader yields bytes that betray loss, repetition and reordering: a counter that is not a power of two long.
type patternReader struct{ at, end int64 }

func pattern(n int64) io.Reader { return &patternReader{0, n} }

func (p *patternReader) Read(into []byte) (int, error) {
	if p.at == p.end {
		return 0, io.EOF
	}
	n := min(int64(len(into)), p.end-p.at)
	for i := range into[:n] {
		at := p.at + int64(i)
		into[i] = byte(at%251 + at/251%7)
	}
	p.at += n
	return int(n), nil
}

func patternSum(n int64) string {
	_, sum := digest(pattern(n))
	return sum
}
