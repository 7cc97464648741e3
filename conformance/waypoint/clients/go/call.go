package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
)

// patience is for a busy machine; only a hang reaches it.
const patience = 2 * time.Minute

const upload = 1_000_000

type caller struct {
	client  *http.Client
	address string
	major   int
}

func call(address string) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		transport := &http.Transport{
			Protocols:             protocols(version == "HTTP/1.1", version == "HTTP/2"),
			ExpectContinueTimeout: patience,
			MaxIdleConnsPerHost:   100,
		}
		c := &caller{&http.Client{Transport: transport}, address, map[string]int{"HTTP/1.1": 1, "HTTP/2": 2}[version]}
		for _, each := range []struct {
			name string
			run  func(context.Context) error
		}{
			{"GET", c.get},
			{"a connection is kept", c.kept},
			{"HEAD", c.head},
			{"POST with a length", c.withLength},
			{"POST without one, with trailers both ways", c.withTrailers},
			{"POST that expects 100", c.expects},
			{"an expectation that is refused", c.refused},
			{"103 before the answer", c.earlyHints},
			{"20 MB", c.download},
			{"server-sent events, one at a time", c.serverSent},
			{"both ways at a time", c.bothWays},
			{"100 requests at a time", c.many},
			{"a request that is given up", c.givenUp},
			{"an answer that breaks off", c.broken},
		} {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			tell(version+": "+each.name, each.run(ctx))
			cancel()
		}
		transport.CloseIdleConnections()
	}
	tell("WebSocket: text, a megabyte, an end", socket(address))
}

func tell(name string, err error) {
	if err != nil {
		fmt.Printf("%s\t%s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
	} else {
		fmt.Printf("%s\tok\n", name)
	}
}

func (c *caller) request(ctx context.Context, method, path string, body io.Reader) *http.Request {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, body)
	if err != nil {
		panic(err)
	}
	return request
}

// answer is the response with its content read.
func (c *caller) answer(request *http.Request) (*http.Response, string, error) {
	response, err := c.client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.ProtoMajor != c.major {
		err = fmt.Errorf("answered by %s", response.Proto)
	}
	return response, string(text), err
}

func (c *caller) says(request *http.Request, wanted string) (*http.Response, error) {
	response, text, err := c.answer(request)
	if err == nil && (response.StatusCode != 200 || text != wanted) {
		err = fmt.Errorf("%d %q, not %q", response.StatusCode, text, wanted)
	}
	return response, err
}

func seenLine(method string, content []byte, trailer string) string {
	digest := sha256.Sum256(content)
	return fmt.Sprintf("%s %d %x %s", method, len(content), digest[:4], trailer)
}

func (c *caller) get(ctx context.Context) error {
	_, err := c.says(c.request(ctx, "GET", "/seen", nil), seenLine("GET", nil, ""))
	return err
}

func (c *caller) kept(ctx context.Context) error {
	reused := 0
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if info.Reused {
			reused++
		}
	}}
	for range 5 {
		if err := c.get(httptrace.WithClientTrace(ctx, trace)); err != nil {
			return err
		}
	}
	if reused != 5 {
		return fmt.Errorf("kept %d times of 5", reused)
	}
	return nil
}

func (c *caller) head(ctx context.Context) error {
	response, err := c.says(c.request(ctx, "HEAD", "/seen", nil), "")
	if err == nil && response.Header.Get("X-Application") != "go" {
		err = errors.New("without the application's header")
	}
	return err
}

func (c *caller) withLength(ctx context.Context) error {
	content := bytes.Repeat([]byte("0123456789"), upload/10)
	_, err := c.says(c.request(ctx, "POST", "/seen", bytes.NewReader(content)), seenLine("POST", content, ""))
	return err
}

func (c *caller) withTrailers(ctx context.Context) error {
	content := bytes.Repeat([]byte("abcde"), upload/5)
	request := c.request(ctx, "POST", "/seen", io.MultiReader(bytes.NewReader(content)))
	request.Trailer = http.Header{"X-Before": {"sent"}}
	response, err := c.says(request, seenLine("POST", content, "sent"))
	if err == nil && response.Trailer.Get("X-After") != "said" {
		err = fmt.Errorf("trailers %v", response.Trailer)
	}
	return err
}

func (c *caller) expects(ctx context.Context) error {
	continued := false
	trace := &httptrace.ClientTrace{Got100Continue: func() { continued = true }}
	content := []byte("after 100")
	request := c.request(httptrace.WithClientTrace(ctx, trace), "PUT", "/seen", bytes.NewReader(content))
	request.Header.Set("Expect", "100-continue")
	_, err := c.says(request, seenLine("PUT", content, ""))
	if err == nil && !continued {
		err = errors.New("there was no 100")
	}
	return err
}

func (c *caller) refused(ctx context.Context) error {
	request := c.request(ctx, "PUT", "/refuse", strings.NewReader("never"))
	request.Header.Set("Expect", "100-continue")
	response, _, err := c.answer(request)
	if err == nil && response.StatusCode != http.StatusExpectationFailed {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return err
}

func (c *caller) earlyHints(ctx context.Context) error {
	var links []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		if code == http.StatusEarlyHints {
			links = append(links, header.Get("Link"))
		}
		return nil
	}}
	_, err := c.says(c.request(httptrace.WithClientTrace(ctx, trace), "GET", "/hints", nil), "after hints")
	if err == nil && (len(links) != 1 || links[0] != "</style.css>; rel=preload") {
		err = fmt.Errorf("hints %v", links)
	}
	return err
}

func (c *caller) download(ctx context.Context) error {
	_, text, err := c.answer(c.request(ctx, "GET", "/large", nil))
	if err != nil {
		return err
	}
	for i := range len(text) {
		if text[i] != byte(i%50_000*7) {
			return fmt.Errorf("byte %d is wrong", i)
		}
	}
	if len(text) != large {
		return fmt.Errorf("%d bytes", len(text))
	}
	return nil
}

// serverSent asks for the next event when one is here.
func (c *caller) serverSent(ctx context.Context) error {
	body, more := io.Pipe()
	defer more.Close()
	response, err := c.client.Do(c.request(ctx, "POST", "/events", body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for i := range events {
		wanted := fmt.Sprintf("data: %d\n\n", i)
		got := make([]byte, len(wanted))
		if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != wanted {
			return fmt.Errorf("event %d: %q %v", i, got, err)
		}
		if _, err := io.WriteString(more, "next\n"); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func (c *caller) bothWays(ctx context.Context) error {
	body, more := io.Pipe()
	response, err := c.client.Do(c.request(ctx, "POST", "/echo", body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for i := range 100 {
		word := fmt.Sprintf("word %03d", i)
		if _, err := io.WriteString(more, word); err != nil {
			return err
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != word {
			return fmt.Errorf("%q came back as %q: %v", word, got, err)
		}
	}
	more.Close()
	rest, err := io.ReadAll(response.Body)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q behind the end", rest)
	}
	return err
}

func (c *caller) many(ctx context.Context) error {
	var wait sync.WaitGroup
	faults := make([]error, 100)
	for i := range faults {
		wait.Go(func() {
			content := bytes.Repeat([]byte{byte(i)}, i*100)
			_, faults[i] = c.says(c.request(ctx, "POST", "/seen", bytes.NewReader(content)), seenLine("POST", content, ""))
		})
	}
	wait.Wait()
	return errors.Join(faults...)
}

// givenUp ends a request whose answer has begun; the application's own must end too.
func (c *caller) givenUp(ctx context.Context) error {
	_, before, err := c.answer(c.request(ctx, "GET", "/cancelled", nil))
	if err != nil {
		return err
	}
	short, cancel := context.WithCancel(ctx)
	response, err := c.client.Do(c.request(short, "GET", "/wait", nil))
	cancel()
	if err != nil {
		return err
	}
	response.Body.Close()
	for ctx.Err() == nil {
		_, after, err := c.answer(c.request(ctx, "GET", "/cancelled", nil))
		if err != nil || after != before {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("the application goes on")
}

// broken must not be taken for whole.
func (c *caller) broken(ctx context.Context) error {
	_, text, err := c.answer(c.request(ctx, "GET", "/break", nil))
	if err == nil {
		return fmt.Errorf("%q was taken for whole", text)
	}
	if ctx.Err() != nil || !strings.HasPrefix("half", text) {
		return fmt.Errorf("%q, %w", text, err)
	}
	return nil
}

func socket(address string) error {
	connection, err := websocket.Dial("ws://"+address+"/socket", "", "http://"+address)
	if err != nil {
		return err
	}
	_ = connection.SetDeadline(time.Now().Add(patience))
	for _, message := range []string{"hello", strings.Repeat("x", upload), "again"} {
		if err := websocket.Message.Send(connection, []byte(message)); err != nil {
			return err
		}
		got := make([]byte, len(message))
		if _, err := io.ReadFull(connection, got); err != nil || string(got) != message {
			return fmt.Errorf("%d bytes came back otherwise: %v", len(message), err)
		}
	}
	return connection.Close()
}
