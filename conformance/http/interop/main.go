// Both ends of gRPC's interoperability suite (grpc/doc/interop-test-descriptions.md), by the project's own Go code: `serve ADDRESS`, or
// `call ADDRESS`, which prints a line for each case: its name, then "ok" or what was wrong.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
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

func serve(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fail(err)
	}
	server := grpc.NewServer()
	testpb.RegisterTestServiceServer(server, interop.NewTestServer())
	fmt.Println("ready")
	fail(server.Serve(listener))
}

// The suite ends the process by its log where something is wrong; here it is told, and the next case follows.
type failure struct{ grpclog.LoggerV2 }

func (failure) Fatal(words ...any)                 { panic(fmt.Sprint(words...)) }
func (failure) Fatalf(format string, words ...any) { panic(fmt.Sprintf(format, words...)) }
func (failure) Fatalln(words ...any)               { panic(fmt.Sprint(words...)) }

func call(address string) {
	grpclog.SetLoggerV2(failure{grpclog.NewLoggerV2(discard{}, discard{}, discard{})})
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fail(err)
	}
	client := testpb.NewTestServiceClient(connection)
	unimplemented := testpb.NewUnimplementedServiceClient(connection)
	cases := []struct {
		name string
		run  func(ctx context.Context)
	}{
		{"empty_unary", func(ctx context.Context) { interop.DoEmptyUnaryCall(ctx, client) }},
		{"large_unary", func(ctx context.Context) { interop.DoLargeUnaryCall(ctx, client) }},
		{"client_streaming", func(ctx context.Context) { interop.DoClientStreaming(ctx, client) }},
		{"server_streaming", func(ctx context.Context) { interop.DoServerStreaming(ctx, client) }},
		{"ping_pong", func(ctx context.Context) { interop.DoPingPong(ctx, client) }},
		{"empty_stream", func(ctx context.Context) { interop.DoEmptyStream(ctx, client) }},
		{"timeout_on_sleeping_server", func(ctx context.Context) { interop.DoTimeoutOnSleepingServer(ctx, client) }},
		{"cancel_after_begin", func(ctx context.Context) { interop.DoCancelAfterBegin(ctx, client) }},
		{"cancel_after_first_response", func(ctx context.Context) { interop.DoCancelAfterFirstResponse(ctx, client) }},
		{"status_code_and_message", func(ctx context.Context) { interop.DoStatusCodeAndMessage(ctx, client) }},
		{"special_status_message", func(ctx context.Context) { interop.DoSpecialStatusMessage(ctx, client) }},
		{"custom_metadata", func(ctx context.Context) { interop.DoCustomMetadata(ctx, client) }},
		{"unimplemented_method", func(ctx context.Context) { interop.DoUnimplementedMethod(ctx, connection) }},
		{"unimplemented_service", func(ctx context.Context) { interop.DoUnimplementedService(ctx, unimplemented) }},
	}
	for _, each := range cases {
		fmt.Printf("%s %s\n", each.name, outcome(each.run))
	}
}

type discard struct{}

func (discard) Write(bytes []byte) (int, error) { return len(bytes), nil }

func outcome(run func(ctx context.Context)) (words string) {
	defer func() {
		if wrong := recover(); wrong != nil {
			words = fmt.Sprint(wrong)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	run(ctx)
	return "ok"
}
