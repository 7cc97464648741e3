// Both ends of HTTP by Go: `serve ADDRESS`, or `call ADDRESS`, which prints a line for each case: its name, a tab, then "ok" or what was
// wrong. net/http speaks HTTP/1.1, and HTTP/2 by prior knowledge; the WebSocket is x/net's.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fail("serve ADDRESS or call ADDRESS")
	}
	if os.Args[1] == "serve" {
		serve(os.Args[2])
	} else {
		call(os.Args[2])
	}
}

func fail(words any) {
	fmt.Println(words)
	os.Exit(1)
}

// protocols are both versions in the clear.
func protocols(h1, h2 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(h1)
	p.SetUnencryptedHTTP2(h2)
	return p
}

func serve(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fail(err)
	}
	fmt.Println("ready")
	fail((&http.Server{Handler: application(), Protocols: protocols(true, true)}).Serve(listener))
}
