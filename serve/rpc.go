package serve

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
)

// RPCError gives err the code that gRPC, gRPC-Web and Connect have for the status that
// [WriteError] would answer with. A [connect.Error] keeps its own, unless an [Error]
// is around it.
func RPCError(err error) error {
	if err == nil {
		return nil
	}
	var around, inside *Error
	coded := new(connect.Error)
	if errors.As(err, &coded) && (!errors.As(err, &around) || errors.As(coded, &inside) && inside == around) {
		return err
	}
	e := asError(err)
	told := connect.NewError(rpcCode(e.Status), err)
	if e.RetryAfter > 0 {
		told.Meta().Set("Retry-After", retryAfter(e.RetryAfter))
	}
	return told
}

// rpcCode is the code for an HTTP status. What is too large is an invalid argument:
// of ResourceExhausted clients think that trying again will do.
func rpcCode(status int) connect.Code {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return connect.CodeInvalidArgument
	case http.StatusUnauthorized:
		return connect.CodeUnauthenticated
	case http.StatusForbidden:
		return connect.CodePermissionDenied
	case http.StatusNotFound:
		return connect.CodeNotFound
	case http.StatusConflict:
		return connect.CodeAborted
	case http.StatusTooManyRequests:
		return connect.CodeResourceExhausted
	case statusClientGone:
		return connect.CodeCanceled
	case http.StatusNotImplemented:
		return connect.CodeUnimplemented
	case http.StatusServiceUnavailable:
		return connect.CodeUnavailable
	case http.StatusGatewayTimeout:
		return connect.CodeDeadlineExceeded
	}
	return connect.CodeInternal
}

// httpStatus is the status for a code, as grpc-gateway gives it.
func httpStatus(code connect.Code) int {
	switch code {
	case connect.CodeCanceled:
		return statusClientGone
	case connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodeOutOfRange:
		return http.StatusBadRequest
	case connect.CodeDeadlineExceeded:
		return http.StatusGatewayTimeout
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodeAlreadyExists, connect.CodeAborted:
		return http.StatusConflict
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodeResourceExhausted:
		return http.StatusTooManyRequests
	case connect.CodeUnimplemented:
		return http.StatusNotImplemented
	case connect.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func retryAfter(d time.Duration) string {
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}

// WriteRPCError answers a request that does not get as far as its handler, in the
// form of the protocol that it speaks: gRPC, gRPC-Web or Connect, else [WriteError].
func WriteRPCError(w http.ResponseWriter, r *http.Request, err error) {
	writer := connect.NewErrorWriter()
	if !isRPC(r) && !writer.IsSupported(r) {
		WriteError(w, err)
		return
	}
	_ = writer.Write(w, r, RPCError(err)) // a client that went away cannot be told
}

// isRPC says whether a request's body is messages in frames. Each message is bounded by
// its handler, the body is not.
func isRPC(r *http.Request) bool {
	contentType := r.Header.Get("Content-Type")
	return strings.HasPrefix(contentType, "application/grpc") || strings.HasPrefix(contentType, "application/connect+")
}

// callPath is the path of a procedure that is called below /api, as Parca's web page
// does: /api/parca.query.v1alpha1.QueryService/Query. No other path has a dot there.
func callPath(path string) (string, bool) {
	rest, below := strings.CutPrefix(path, "/api/")
	name, _, deeper := strings.Cut(rest, "/")
	if !below || !deeper || !strings.Contains(name, ".") {
		return path, false
	}
	return "/" + rest, true
}

// CodedErrors has the errors of unary handlers go through [RPCError].
func CodedErrors() connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			res, err := next(ctx, req)
			return res, RPCError(err)
		}
	})
}
