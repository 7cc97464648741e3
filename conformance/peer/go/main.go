// Peer is Go's side of `npm run conformance -- peer`: an HBONE client and server on crypto/tls and golang.org/x/net/http2,
// and the two applications at the ends of a mesh connection. Each check is one line of JSON on standard output.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const usage = `usage: peer <command> [flags]
  app      applications on -listen: one that obeys the first line it reads, one (-banner) that speaks first
  call     checks from the client application, through an outbound node, to the application at -target
  client   HBONE checks against an inbound node at -target
  server   HBONE server on -listen in front of the application (Go's own HTTP/2 server)
  scripted HBONE server on -listen whose behaviour depends on the port of :authority
  scripted-call  checks from the client application against a scripted server behind an outbound node
  try      -tries connections to an inbound node with this certificate; counts how many were served
`

type flags struct {
	listen, banner, target, app string
	cert, key, root, expect     string
	ports                       string
	only, skip                  string
	tries                       int
	pid                         int
	parallel                    int
	repeat                      int
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var f flags
	set := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	set.StringVar(&f.listen, "listen", "", "ip:port[,ip:port]")
	set.StringVar(&f.banner, "banner", "", "ip:port of the application that speaks first")
	set.StringVar(&f.target, "target", "", "ip:port to connect to")
	set.StringVar(&f.app, "app", "", "ip:port of the application, for :authority")
	set.StringVar(&f.cert, "cert", "", "certificate (PEM); empty for none")
	set.StringVar(&f.key, "key", "", "its key (PEM)")
	set.StringVar(&f.root, "root", "", "trusted root (PEM)")
	set.StringVar(&f.expect, "expect", "", "SPIFFE ID the peer must show")
	set.StringVar(&f.ports, "ports", "", "name=port,… of the applications")
	set.StringVar(&f.only, "only", "", "case names, comma separated; default all")
	set.StringVar(&f.skip, "skip", "", "case names left out, comma separated")
	set.IntVar(&f.tries, "tries", 200, "how often")
	set.IntVar(&f.pid, "pid", 0, "process of the node, for cases that signal it")
	set.IntVar(&f.parallel, "parallel", 8, "tries at a time")
	set.IntVar(&f.repeat, "repeat", 1, "run the chosen cases this often")
	_ = set.Parse(os.Args[2:])
	commands := map[string]func(*flags) error{
		"app": runApp, "call": runCalls, "client": runClient, "server": runServer, "scripted": runScripted, "try": runTries,
		"scripted-call": runScriptedCalls,
	}
	run := commands[os.Args[1]]
	if run == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := run(&f); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// portOf finds a named port of -ports.
func (f *flags) portOf(name string) string {
	for _, pair := range strings.Split(f.ports, ",") {
		if key, port, ok := strings.Cut(pair, "="); ok && key == name {
			return port
		}
	}
	panic("no port named " + name)
}

var output sync.Mutex

func emit(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	w := bufio.NewWriter(os.Stdout)
	_, _ = w.Write(append(line, '\n'))
	_ = w.Flush()
}

// check is one named case. It fails by returning an error, or by taking longer than its time.
type check struct {
	name string
	run  func() error
}

type outcome struct {
	Case   string `json:"case"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Ms     int64  `json:"ms"`
}

// A hang alone reaches it, however busy the machine is.
const patience = 60 * time.Second

const checkTimeout = 5 * patience

func runChecks(checks []check, f *flags) {
	wanted, left := strings.Split(f.only, ","), strings.Split(f.skip, ",")
	for _, one := range checks {
		if (f.only != "" && !slices.Contains(wanted, one.name)) || slices.Contains(left, one.name) {
			continue
		}
		start := time.Now()
		done := make(chan error, 1)
		go func() {
			defer func() {
				if problem := recover(); problem != nil {
					done <- fmt.Errorf("panic: %v", problem)
				}
			}()
			done <- one.run()
		}()
		var err error
		select {
		case err = <-done:
		case <-time.After(checkTimeout):
			err = fmt.Errorf("not done in %v", checkTimeout)
		}
		result := outcome{Case: one.name, OK: err == nil, Ms: time.Since(start).Milliseconds()}
		if err != nil {
			result.Detail = err.Error()
		}
		emit(result)
	}
}
