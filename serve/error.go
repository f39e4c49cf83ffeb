package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// Error is a failure with what HTTP needs to tell it.
type Error struct {
	Status     int           // HTTP status
	Code       string        // for programs: "invalid", "not_found", …; "" takes the status's own
	Field      string        // which parameter or field was wrong, if one was
	RetryAfter time.Duration // when trying again makes sense; 0: not said
	Err        error         // for people
}

// Error implements error.
func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Err.Error()
	}
	return e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Field says which parameter err is about, with the status that err's class has.
func Field(name string, err error) error {
	status, code := classify(err)
	return &Error{Status: status, Code: code, Field: name, Err: err}
}

// classify gives the status of an error that has none of its own.
func classify(err error) (status int, code string) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, "too_large"
	case errors.Is(err, profile.ErrInvalid):
		return http.StatusBadRequest, "invalid"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, "timeout"
	case errors.Is(err, context.Canceled):
		return statusClientGone, "canceled"
	}
	return http.StatusInternalServerError, "internal"
}

// statusClientGone is nginx' code for a client that went away; nobody reads it.
const statusClientGone = 499

type errorBody struct {
	Error errorText `json:"error"`
}

type errorText struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
}

// WriteError answers with err as {"error": {"code", "message", "field"}}. An
// [*Error] anywhere in the chain decides the status, else the class of the error:
// [profile.ErrInvalid] is 400, a passed deadline 504, the rest 500.
func WriteError(w http.ResponseWriter, err error) {
	e := asError(err)
	code := e.Code
	if code == "" {
		_, code = classify(e.Err)
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", retryAfter(e.RetryAfter))
	}
	WriteJSON(w, e.Status, errorBody{errorText{Code: code, Message: err.Error(), Field: e.Field}})
}

// asError is the [*Error] in err's chain, or else one with the status that err's class has.
func asError(err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		status, code := classify(err)
		e = &Error{Status: status, Code: code, Err: err}
	}
	return e
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer cannot be written as JSON"}}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that went away cannot be told
}
