package push

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"
)

// unary answers a procedure over gRPC, gRPC-Web and Connect, in protobuf and JSON.
func unary[Req, Res any](rc *Receiver, procedure string, answer func(context.Context, *Req) (*Res, error)) http.Handler {
	return connect.NewUnaryHandler(procedure, func(ctx context.Context, req *connect.Request[Req]) (*connect.Response[Res], error) {
		res, err := answer(ctx, req.Msg)
		if err != nil {
			rc.refused(ctx, err)
			return nil, rpcError(err)
		}
		return connect.NewResponse(res), nil
	}, connect.WithReadMaxBytes(rc.cfg.MaxMessageBytes))
}

// rpcError gives an error the code that gRPC has for it, and says when to come back.
func rpcError(err error) error {
	f := fault(err)
	told := connect.NewError(rpcCode(f.Status), err)
	if f.RetryAfter > 0 {
		told.Meta().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
		if detail, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)}); err == nil {
			told.AddDetail(detail)
		}
	}
	return told
}

// rpcCode is gRPC's word for an HTTP status. What is too large is an invalid argument:
// ResourceExhausted would make clients send it again.
func rpcCode(status int) connect.Code {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return connect.CodeInvalidArgument
	case http.StatusUnauthorized:
		return connect.CodeUnauthenticated
	case http.StatusForbidden:
		return connect.CodePermissionDenied
	case http.StatusTooManyRequests:
		return connect.CodeResourceExhausted
	case http.StatusServiceUnavailable:
		return connect.CodeUnavailable
	case http.StatusGatewayTimeout:
		return connect.CodeDeadlineExceeded
	case statusClientGone:
		return connect.CodeCanceled
	}
	return connect.CodeInternal
}
