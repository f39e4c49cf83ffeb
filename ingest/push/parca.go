package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	parcav1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/ingest/push/parca"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// writeTimeout bounds the exchange of Write, of which the client does half.
const writeTimeout = 30 * time.Second

// parcaRoutes are Parca's profile store: procedures, with and without the prefix that
// Parca's own page uses, and the JSON paths of its gateway.
func (rc *Receiver) parcaRoutes(handle func(pattern string, h http.Handler)) {
	procedures := map[string]http.Handler{
		parcav1.ProfileStoreServiceWriteRawProcedure:   unary(rc, parcav1.ProfileStoreServiceWriteRawProcedure, rc.writeRaw),
		parcav1.ProfileStoreServiceWriteArrowProcedure: unary(rc, parcav1.ProfileStoreServiceWriteArrowProcedure, rc.writeArrow),
		parcav1.ProfileStoreServiceWriteProcedure: connect.NewBidiStreamHandler(
			parcav1.ProfileStoreServiceWriteProcedure, rc.write, connect.WithReadMaxBytes(rc.cfg.MaxMessageBytes)),
		parcav1.AgentsServiceAgentsProcedure: unary(rc, parcav1.AgentsServiceAgentsProcedure, rc.listAgents),
	}
	for procedure, h := range procedures {
		h = rc.receive(protocolParca, h)
		handle("POST "+procedure, h)
		handle("POST /api"+procedure, http.StripPrefix("/api", h))
	}
	handle("POST /api/profiles/writeraw", rc.receive(protocolParca, gateway(rc, rc.writeRaw)))
	handle("POST /api/profiles/writearrow", rc.receive(protocolParca, gateway(rc, rc.writeArrow)))
	handle("GET /api/agents", rc.receive(protocolParca, gateway(rc, rc.listAgents)))
}

// writeRaw stores pprofs. What a profile is called is its label __name__.
func (rc *Receiver) writeRaw(ctx context.Context, req *parcav1.WriteRawRequest) (*parcav1.WriteRawResponse, error) {
	var profiles []upload.Profile
	for i, s := range req.GetSeries() {
		labels := s.GetLabels().GetLabels()
		pairs := make([]profile.Label, 0, len(labels))
		for _, l := range labels {
			pairs = append(pairs, profile.Label{Name: l.GetName(), Value: l.GetValue()})
		}
		name, series, err := seriesOf(pairs)
		if err != nil {
			return nil, fmt.Errorf("series %d of %d: %w", i+1, len(req.GetSeries()), err)
		}
		for _, sample := range s.GetSamples() {
			profiles = append(profiles, upload.Profile{Name: name, Labels: series, Body: sample.GetRawProfile()})
		}
	}
	return &parcav1.WriteRawResponse{}, rc.store(ctx, profiles)
}

// writeArrow stores Arrow records: what today's Parca agent sends.
func (rc *Receiver) writeArrow(ctx context.Context, req *parcav1.WriteArrowRequest) (*parcav1.WriteArrowResponse, error) {
	made, err := parca.Decode(req.GetIpcBuffer())
	if err != nil {
		return nil, fmt.Errorf("ipc_buffer: %w", err)
	}
	return &parcav1.WriteArrowResponse{}, rc.store(ctx, uploads(made))
}

// write is the exchange of older agents: samples come first, the server asks for their
// stacks, these come, and the end of the stream is the acknowledgement.
func (rc *Receiver) write(ctx context.Context, stream *connect.BidiStream[parcav1.WriteRequest, parcav1.WriteResponse]) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	samples := parca.NewSamples()
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := samples.Add(req.GetRecord()); err != nil {
			err = fmt.Errorf("record: %w", err)
			rc.refused(ctx, err)
			return rpcError(err)
		}
		missing, err := samples.Missing()
		if err != nil {
			rc.refused(ctx, err)
			return rpcError(err)
		}
		if missing == nil {
			break
		}
		if err := stream.Send(&parcav1.WriteResponse{Record: missing}); err != nil {
			return err
		}
	}
	made, err := samples.Profiles()
	if err == nil {
		err = rc.store(ctx, uploads(made))
	}
	if err != nil {
		rc.refused(ctx, err)
		return rpcError(err)
	}
	return nil
}

// listAgents says who has pushed lately.
func (rc *Receiver) listAgents(ctx context.Context, _ *parcav1.AgentsRequest) (*parcav1.AgentsResponse, error) {
	c := clientOf(ctx)
	if c.err != nil {
		return nil, c.err
	}
	res := &parcav1.AgentsResponse{}
	for _, a := range rc.Agents(c.tenant) {
		res.Agents = append(res.Agents, &parcav1.Agent{
			Id: a.ID, LastError: a.LastError, LastPush: timestamppb.New(a.LastPush),
			LastPushDuration: durationpb.New(time.Duration(a.Duration * float64(time.Second))),
		})
	}
	return res, nil
}

// gateway answers a procedure as Parca's gateway does: JSON in the body, whatever its
// type is said to be, and errors with gRPC's code as a number.
func gateway[Req, Res any, In interface {
	*Req
	proto.Message
}, Out interface {
	*Res
	proto.Message
}](rc *Receiver, answer func(context.Context, *Req) (*Res, error),
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := rc.readBody(r)
		var req Req
		if err == nil && len(body) > 0 {
			if err = (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, In(&req)); err != nil {
				err = fmt.Errorf("JSON: %w: %w", err, profile.ErrInvalid)
			}
		}
		var res *Res
		if err == nil {
			res, err = answer(r.Context(), &req)
		}
		if err != nil {
			rc.refused(r.Context(), err)
			writeGatewayError(w, err)
			return
		}
		text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(Out(res))
		if err != nil {
			writeGatewayError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text) // a client that went away cannot be told
	})
}

func writeGatewayError(w http.ResponseWriter, err error) {
	f := fault(err)
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	serve.WriteJSON(w, f.Status, struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details []any  `json:"details"`
	}{int(rpcCode(f.Status)), err.Error(), []any{}})
}
