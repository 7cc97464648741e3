// The SPIFFE Workload API as SPIFFE's own library calls it. Each command writes one JSON object a line.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

type report map[string]any

func say(line report) {
	encoded, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(encoded))
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: control-peer watch|bundles|jwt|headerless|tls [flags]")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	socket := flags.String("socket", "", "unix:///path of the Workload API")
	identity := flags.String("identity", "", "tls: the SPIFFE ID that both ends show and expect")
	seconds := flags.Int("seconds", 60, "how long to run at most")
	_ = flags.Parse(os.Args[2:])

	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*seconds)*time.Second)
	defer cancel()
	commands := map[string]func(context.Context) error{
		"watch":      func(ctx context.Context) error { return watch(ctx, *socket) },
		"bundles":    func(ctx context.Context) error { return bundles(ctx, *socket) },
		"jwt":        func(ctx context.Context) error { return jwt(ctx, *socket) },
		"headerless": func(ctx context.Context) error { return headerless(ctx, *socket) },
		"tls":        func(ctx context.Context) error { return mutualTLS(ctx, *socket, *identity) },
	}
	command, ok := commands[os.Args[1]]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such command:", os.Args[1])
		os.Exit(2)
	}
	if err := command(ctx); err != nil {
		say(failure(err))
	}
}
