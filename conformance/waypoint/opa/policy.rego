# What an operator writes for OPA's plugin for Envoy, against the same input.
package envoy.authz

import rego.v1

http := input.attributes.request.http

allow := true if {
	http.method == "GET"
	input.parsed_path[0] == "public"
}

# By who has been proven to call, with changes of the request and of the answer.
allow := decision if {
	http.method == "GET"
	input.parsed_path[0] == "items"
	input.attributes.source.principal == "spiffe://cluster.local/ns/shop/sa/caller"
	decision := {
		"allowed": true,
		"headers": {"x-item": input.parsed_path[1]},
		"request_headers_to_remove": ["x-secret"],
		"response_headers_to_add": {"x-decided-by": "opa"},
	}
}

allow := {
	"allowed": false,
	"http_status": 401,
	"headers": {"www-authenticate": "Basic realm=shop"},
	"body": "who are you?",
} if {
	input.parsed_path[0] == "admin"
	not http.headers["x-admin"]
}

# By what is in the content.
allow := cheap if {
	http.method == "POST"
	input.parsed_path[0] == "orders"
	cheap := json.unmarshal(http.body).amount < 100
}

# By a token that OPA checks itself.
allow := valid if {
	input.parsed_path[0] == "token"
	[valid, _, claims] := io.jwt.decode_verify(trim_prefix(http.headers.authorization, "Bearer "), {"secret": "not-so-secret", "alg": "HS256"})
}

# Anything else is undefined, which is no decision.
