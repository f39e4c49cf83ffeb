package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	collector "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/coldframe/coldframe/profile"
)

// ParseJSON reads a request in OTLP's JSON, which is protobuf's but for IDs, which are
// in hexadecimal and not in base64.
func ParseJSON(text []byte) (*collector.ExportProfilesServiceRequest, error) {
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("JSON: %w: %w", err, profile.ErrInvalid)
	}
	rewriteIDs(tree)
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("JSON: %w: %w", err, profile.ErrInvalid)
	}
	req := new(collector.ExportProfilesServiceRequest)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, req); err != nil {
		return nil, fmt.Errorf("JSON: %w: %w", err, profile.ErrInvalid)
	}
	return req, nil
}

// rewriteIDs turns IDs in hexadecimal into base64, which protobuf's JSON wants.
func rewriteIDs(tree any) {
	switch tree := tree.(type) {
	case []any:
		for _, v := range tree {
			rewriteIDs(v)
		}
	case map[string]any:
		for key, v := range tree {
			text, isText := v.(string)
			switch {
			case !isText:
				rewriteIDs(v)
			case key == "traceId" || key == "spanId" || key == "profileId":
				if id, err := hex.DecodeString(text); err == nil {
					tree[key] = base64.StdEncoding.EncodeToString(id)
				}
			}
		}
	}
}
