package lambdaenv

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// urlEvent is a request as an event, of format 2.0.
func urlEvent(r *http.Request, body []byte, domain string) ([]byte, error) {
	headers, parameters := map[string]string{}, map[string]string{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	headers["host"] = domain
	for name, values := range r.URL.Query() {
		parameters[name] = strings.Join(values, ",")
	}
	return json.Marshal(map[string]any{
		"version": "2.0", "routeKey": "$default", "rawPath": r.URL.EscapedPath(), "rawQueryString": r.URL.RawQuery,
		"headers": headers, "queryStringParameters": parameters,
		"requestContext": map[string]any{
			"accountId": "123456789012", "apiId": "example", "domainName": domain, "requestId": requestID(), "stage": "$default",
			"http":      map[string]any{"method": r.Method, "path": r.URL.Path, "protocol": r.Proto, "sourceIp": "127.0.0.1", "userAgent": r.UserAgent()},
			"timeEpoch": time.Now().UnixMilli(),
		},
		"body": base64.StdEncoding.EncodeToString(body), "isBase64Encoded": true,
	})
}

// serveURL is the function's URL.
func (f *Function) serveURL(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxPayload+1))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	domain := "example.lambda-url.eu-central-1.on.aws"
	if f.cfg.Buffered {
		domain = "example.execute-api.eu-central-1.amazonaws.com"
	}
	event, err := urlEvent(r, body, domain)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if len(event) > MaxPayload {
		http.Error(w, `{"Message":"Request Entity Too Large"}`, http.StatusRequestEntityTooLarge)
		return
	}
	begun := false
	err = f.invoke(r.Context(), event, r.Header.Get("X-Amzn-Trace-Id"), func(contentType string, answer io.Reader) error {
		if contentType == "application/vnd.awslambda.http-integration-response" {
			if f.cfg.Buffered {
				return &Error{"InvalidResponse", "a stream where the answer must come in one piece"}
			}
			begun = true
			return stream(w, answer)
		}
		begun = true
		return whole(w, answer)
	})
	switch {
	case errors.Is(err, errThrottled):
		http.Error(w, `{"Message":"Rate Exceeded"}`, http.StatusTooManyRequests)
	case err != nil && !begun:
		http.Error(w, `{"Message":"Internal Server Error"}`, http.StatusBadGateway)
	case err != nil:
		panic(http.ErrAbortHandler) // the client sees that the answer is cut short
	}
}

type prelude struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Cookies    []string          `json:"cookies"`
	Body       string            `json:"body"`
	Base64     bool              `json:"isBase64Encoded"`
}

func (p prelude) send(w http.ResponseWriter) {
	for name, value := range p.Headers {
		w.Header().Set(name, value)
	}
	for _, cookie := range p.Cookies {
		w.Header().Add("Set-Cookie", cookie)
	}
	w.WriteHeader(p.StatusCode)
}

// stream passes an answer on as it comes: JSON, eight zeros, the body.
func stream(w http.ResponseWriter, answer io.Reader) error {
	var head []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(head, make([]byte, 8)) {
		if _, err := io.ReadFull(answer, one); err != nil || len(head) > 64<<10 {
			return fmt.Errorf("prelude of a stream: %w", err)
		}
		head = append(head, one[0])
	}
	var p prelude
	if err := json.Unmarshal(head[:len(head)-8], &p); err != nil {
		return fmt.Errorf("prelude of a stream: %w", err)
	}
	p.send(w)
	sent := 0
	for buf := make([]byte, 32<<10); ; {
		n, err := answer.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			_, err = io.Copy(io.Discard, answer) // the client has gone; the function does not know
			return err
		}
		w.(http.Flusher).Flush()
		if sent += n; sent > MaxStream {
			return &Error{"Function.ResponseSizeTooLarge", "stream over 200 MB"}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// whole sends an answer that comes in one piece.
func whole(w http.ResponseWriter, answer io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(answer, MaxPayload+1))
	if err != nil {
		return err
	}
	if err := checkSize(len(text)); err != nil {
		http.Error(w, `{"Message":"Internal Server Error"}`, http.StatusBadGateway)
		return err
	}
	var p prelude
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	body := []byte(p.Body)
	if p.Base64 {
		if body, err = base64.StdEncoding.DecodeString(p.Body); err != nil {
			return err
		}
	}
	p.send(w)
	_, err = w.Write(body)
	return err
}
