// Answers every request with what it saw of it, and keeps a line of each for GET /__log__.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

func main() {
	var mutex sync.Mutex
	var lines []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/__log__" {
			mutex.Lock()
			defer mutex.Unlock()
			fmt.Fprint(w, strings.Join(lines, "\n"))
			lines = nil
			return
		}
		length, _ := io.Copy(io.Discard, r.Body)
		line := fmt.Sprintf("%s %s %s %d", r.Method, r.RequestURI, r.Host, length)
		mutex.Lock()
		lines = append(lines, line)
		mutex.Unlock()
		w.Header().Set("Content-Length", fmt.Sprint(len(line)))
		fmt.Fprint(w, line)
	})
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Args[2], os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	log.Fatal((&http.Server{Handler: handler}).Serve(listener))
}
