// Load is the measuring client and server of `npm run bench -- tunnel`.
//
// One epoll loop on one thread and no allocation while measuring, so that what is measured is the tunnel and not the
// meter: on two cores every microsecond the meter takes is one the tunnel does not get. It reads the CPU time of the
// processes under test itself, at the edges of its own window. Standard library only.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options of every measuring command. Durations come in milliseconds, as everywhere else in the harness.
type options struct {
	target      string
	connections int
	warmUp      time.Duration
	window      time.Duration
	pids        []int
	// Requests that are out at one time; of rotate alone.
	outstanding int
	// Addresses that connections are made from in turn; none leaves it to the kernel.
	sources []syscall.Sockaddr
}

const usage = `usage: load <command> [flags]
  serve-http   -listen ip:port              answers every request with the same small response
  serve-bulk   -listen ip:port              swallows ("U") or sends ("D") bytes until the client goes
  requests     -target ip:port -connections N   keep-alive requests, one outstanding on each connection
  rotate       -target ip:port -connections N -outstanding M -from ip -sources K
                                                N open, M of them with a request; they take turns, and come from K addresses
  connections  -target ip:port -connections N   connect, one request, close; N at a time
  bulk         -target ip:port -direction up|down
  idle         -target ip:port -connections N   open N, one request each, hold until standard input ends;
                                                one more request each for every line of that
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	// A collection in the window would be a latency of ours. The loops do not allocate; the limit is for an accident.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1 << 30)
	signal.Ignore(syscall.SIGPIPE)
	command := os.Args[1]
	flags := flag.NewFlagSet(command, flag.ExitOnError)
	listen := flags.String("listen", "", "ip:port to listen on")
	target := flags.String("target", "", "ip:port to call")
	connections := flags.Int("connections", 1, "connections at a time")
	warmUpMs := flags.Int("warm-up-ms", 500, "time before the window")
	windowMs := flags.Int("window-ms", 3000, "length of the measuring window")
	direction := flags.String("direction", "up", "up or down")
	outstanding := flags.Int("outstanding", 1, "requests that are out at one time")
	from := flags.String("from", "", "the first address that connections come from")
	sources := flags.Int("sources", 0, "how many addresses connections come from, one after the other")
	pids := flags.String("pids", "", "processes whose CPU time is read at the edges of the window")
	_ = flags.Parse(os.Args[2:])
	o := options{
		target: *target, connections: *connections,
		warmUp: time.Duration(*warmUpMs) * time.Millisecond, window: time.Duration(*windowMs) * time.Millisecond,
		pids: parsePids(*pids), outstanding: *outstanding,
	}
	var result any
	var err error
	o.sources, err = sourceAddresses(*from, *sources)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	switch command {
	case "serve-http":
		err = serveHTTP(*listen)
	case "serve-bulk":
		err = serveBulk(*listen)
	case "requests":
		result, err = measureRequests(o)
	case "rotate":
		result, err = measureRotating(o)
	case "connections":
		result, err = measureConnections(o)
	case "bulk":
		result, err = measureBulk(o, *direction)
	case "idle":
		err = holdIdle(o)
	default:
		err = fmt.Errorf("unknown command %q\n%s", command, usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	if result != nil {
		_ = json.NewEncoder(os.Stdout).Encode(result)
	}
}

func parsePids(list string) []int {
	var pids []int
	for _, word := range strings.Split(list, ",") {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
