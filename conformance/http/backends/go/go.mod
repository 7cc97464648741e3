module fairlead.dev/conformance/http

go 1.21
