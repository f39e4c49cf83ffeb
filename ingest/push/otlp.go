package push

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/coldframe/coldframe/ingest/push/otlp"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// The two doors of OpenTelemetry's protocol.
const (
	otlpExport = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
	otlpHTTP   = "/v1development/profiles"
)

// exportOTLP stores the profiles of a request that can be read, and says how many could not.
func (rc *Receiver) exportOTLP(ctx context.Context, req *collector.ExportProfilesServiceRequest) (*collector.ExportProfilesServiceResponse, error) {
	made, refused := otlp.Decode(req)
	if len(made) == 0 && len(refused) > 0 {
		return nil, errors.Join(refused[:min(len(refused), 3)]...)
	}
	res := &collector.ExportProfilesServiceResponse{}
	if len(refused) > 0 {
		res.PartialSuccess = &collector.ExportProfilesPartialSuccess{RejectedProfiles: int64(len(refused)), ErrorMessage: refused[0].Error()}
	}
	return res, rc.store(ctx, uploads(made))
}

// uploads are what readers of other formats made, to be stored.
func uploads(made []draft.Profile) []upload.Profile {
	profiles := make([]upload.Profile, len(made))
	for i, p := range made {
		profiles[i] = upload.Profile(p)
	}
	return profiles
}

// serveOTLP answers POST /v1development/profiles in protobuf or JSON, errors too.
func (rc *Receiver) serveOTLP(w http.ResponseWriter, r *http.Request) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	inJSON := kind == "application/json"
	var answer proto.Message
	code := http.StatusOK
	if err != nil || !inJSON && kind != "application/x-protobuf" {
		err = &serve.Error{
			Status: http.StatusUnsupportedMediaType, Field: "Content-Type",
			Err: fmt.Errorf("%.100q: want application/x-protobuf or application/json", r.Header.Get("Content-Type")),
		}
	} else {
		answer, err = rc.answerOTLP(r, inJSON)
	}
	if err != nil {
		rc.refused(r.Context(), err)
		f := fault(err)
		code = f.Status
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
		}
		answer = &status.Status{Code: int32(rpcCode(f.Status)), Message: err.Error()}
	}
	var body []byte
	if inJSON {
		kind = "application/json"
		body, err = protojson.Marshal(answer)
	} else {
		kind = "application/x-protobuf"
		body, err = proto.Marshal(answer)
	}
	if err != nil {
		serve.WriteError(w, fmt.Errorf("writing the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	_, _ = w.Write(body) // a client that went away cannot be told
}

func (rc *Receiver) answerOTLP(r *http.Request, inJSON bool) (proto.Message, error) {
	body, err := rc.readBody(r)
	if err != nil {
		return nil, err
	}
	req := new(collector.ExportProfilesServiceRequest)
	if inJSON {
		req, err = otlp.ParseJSON(body)
	} else if err = proto.Unmarshal(body, req); err != nil {
		err = fmt.Errorf("body: %w: %w", err, profile.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	return rc.exportOTLP(r.Context(), req)
}
