// An external authorizer that decides by Open Policy Agent: Envoy's own messages in front, OPA's engine behind. The policy sees the
// request as OPA's plugin for Envoy shows it (input.attributes, input.parsed_path), and answers with a truth value or an object of the
// plugin's fields. Prints its port; ends with its standard input.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	kind "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/version"
	status "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

type server struct {
	auth.UnimplementedAuthorizationServer
	query rego.PreparedEvalQuery
}

func (s *server) Check(ctx context.Context, request *auth.CheckRequest) (*auth.CheckResponse, error) {
	input, err := inputOf(request)
	if err != nil {
		return nil, err
	}
	results, err := s.query.Eval(ctx, rego.EvalInput(input))
	if err != nil {
		return nil, err
	}
	if len(results) == 0 || len(results[0].Expressions) == 0 {
		return nil, fmt.Errorf("the policy is undefined")
	}
	switch decision := results[0].Expressions[0].Value.(type) {
	case bool:
		return answer(decision, map[string]any{}), nil
	case map[string]any:
		allowed, ok := decision["allowed"].(bool)
		if !ok {
			return nil, fmt.Errorf("the decision has no allowed")
		}
		return answer(allowed, decision), nil
	default:
		return nil, fmt.Errorf("the decision is %T", decision)
	}
}

func inputOf(request *auth.CheckRequest) (map[string]any, error) {
	text, err := protojson.Marshal(request)
	if err != nil {
		return nil, err
	}
	input := map[string]any{}
	if err := json.Unmarshal(text, &input); err != nil {
		return nil, err
	}
	path, _, _ := strings.Cut(request.GetAttributes().GetRequest().GetHttp().GetPath(), "?")
	input["parsed_path"] = strings.Split(strings.TrimPrefix(path, "/"), "/")
	return input, nil
}

func answer(allowed bool, decision map[string]any) *auth.CheckResponse {
	headers := options(decision["headers"])
	if allowed {
		removed := []string{}
		for _, name := range list(decision["request_headers_to_remove"]) {
			removed = append(removed, fmt.Sprint(name))
		}
		return &auth.CheckResponse{
			Status: &status.Status{Code: int32(codes.OK)},
			HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{
				Headers:              headers,
				HeadersToRemove:      removed,
				ResponseHeadersToAdd: options(decision["response_headers_to_add"]),
			}},
		}
	}
	code := kind.StatusCode_Forbidden
	if number, ok := decision["http_status"].(json.Number); ok {
		if value, err := number.Int64(); err == nil {
			code = kind.StatusCode(value)
		}
	}
	body, _ := decision["body"].(string)
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status: &kind.HttpStatus{Code: code}, Headers: headers, Body: body,
		}},
	}
}

func list(value any) []any {
	items, _ := value.([]any)
	return items
}

func options(value any) []*core.HeaderValueOption {
	found := []*core.HeaderValueOption{}
	fields, _ := value.(map[string]any)
	for name, one := range fields {
		found = append(found, &core.HeaderValueOption{Header: &core.HeaderValue{Key: name, Value: fmt.Sprint(one)}})
	}
	return found
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("opa POLICY.rego")
	}
	policy, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	query, err := rego.New(rego.Query("data.envoy.authz.allow"), rego.Module(os.Args[1], string(policy))).
		PrepareForEval(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	calls := grpc.NewServer()
	auth.RegisterAuthorizationServer(calls, &server{query: query})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Printf("{\"port\":%d,\"version\":%q}\n", listener.Addr().(*net.TCPAddr).Port, version.Version)
	log.Fatal(calls.Serve(listener))
}
