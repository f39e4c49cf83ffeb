package parca

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	sharev1alpha1 "github.com/coldframe/coldframe/api/parca/share/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// ShareProfile gives the profiles of a query to whoever Config.Share is, and its link to
// the caller. It is off unless somebody has turned it on, because it hands data out.
func (a *API) ShareProfile(ctx context.Context, m *pb.ShareProfileRequest) (*pb.ShareProfileResponse, error) {
	if a.cfg.Share == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("sharing is off; --profile-share-server turns it on"))
	}
	if m.GetQueryRequest() == nil {
		return nil, serve.Field("query_request", fmt.Errorf("it must be given: %w", profile.ErrInvalid))
	}
	req, err := a.tree(ctx, m.GetQueryRequest())
	if err != nil {
		return nil, err
	}
	p, stats, err := a.pprof(ctx, req, m.GetQueryRequest().GetDiff().GetAbsolute())
	if err != nil {
		return nil, query.WithStatus(err)
	}
	query.Tell(ctx, stats)
	link, err := a.cfg.Share(ctx, p, m.GetDescription())
	if err != nil {
		return nil, &serve.Error{Status: http.StatusServiceUnavailable, Code: "unavailable", Err: fmt.Errorf("sharing the profile: %w", err)}
	}
	return &pb.ShareProfileResponse{Link: link}, nil
}

// ShareWith is a Config.Share that uploads to a server that speaks
// parca.share.v1alpha1, as https://api.pprof.me does.
func ShareWith(client *http.Client, url string) func(context.Context, []byte, string) (string, error) {
	to := sharev1alpha1.NewShareServiceClient(client, url, connect.WithGRPC())
	return func(ctx context.Context, profile []byte, description string) (string, error) {
		res, err := to.Upload(ctx, &sharev1alpha1.UploadRequest{Profile: profile, Description: description})
		if err != nil {
			return "", fmt.Errorf("%s: %w", url, err)
		}
		return res.GetLink(), nil
	}
}
