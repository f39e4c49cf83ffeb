package serve

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/coldframe/coldframe/profile"
)

// JSONCall answers a procedure at a path of its own, in the forms of grpc-gateway: a GET
// has the request's fields as parameters of the URL, nested ones as merge.query, a POST
// has the request as JSON; inPath are the fields that stand in the path, under their
// own names. Answers are protobuf's JSON with all fields, 64-bit numbers as texts. Errors
// are {"code", "message", "details"} with gRPC's number for the code.
func JSONCall[Req, Res any, PReq message[Req], PRes message[Res]](call func(context.Context, PReq) (PRes, error), inPath ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := PReq(new(Req))
		if err := readCall(r, req, inPath); err != nil {
			WriteCallError(w, err)
			return
		}
		res, err := call(r.Context(), req)
		if err != nil {
			WriteCallError(w, err)
			return
		}
		writeMessage(w, http.StatusOK, res)
	})
}

// message is a pointer to a generated struct.
type message[T any] interface {
	*T
	proto.Message
}

func readCall(r *http.Request, req proto.Message, inPath []string) error {
	if r.Method == http.MethodPost {
		if err := readJSON(r, req); err != nil {
			return err
		}
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("query string: %w: %w", err, profile.ErrInvalid)
	}
	for _, name := range inPath {
		values[name] = []string{r.PathValue(name)}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := setField(req.ProtoReflect(), name, values[name]); err != nil {
			return Field(name, err)
		}
	}
	return nil
}

func readJSON(r *http.Request, req proto.Message) error {
	if given := r.Header.Get("Content-Type"); given != "" {
		if mediaType, _, err := mime.ParseMediaType(given); err != nil || mediaType != "application/json" {
			return &Error{Status: http.StatusUnsupportedMediaType, Code: "invalid", Err: fmt.Errorf("content type %q: want application/json", given)}
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, req); err != nil {
		return fmt.Errorf("the body is not the request's JSON: %w: %w", err, profile.ErrInvalid)
	}
	return nil
}

// setField sets the field that a parameter names, a.b being field b of field a.
func setField(m protoreflect.Message, name string, values []string) error {
	for {
		head, rest, nested := strings.Cut(name, ".")
		fields := m.Descriptor().Fields()
		field := cmp.Or(fields.ByJSONName(head), fields.ByName(protoreflect.Name(head)))
		switch {
		case field == nil:
			return fmt.Errorf("there is no parameter %q: %w", head, profile.ErrInvalid)
		case otherOfOneof(m, field) != nil:
			return fmt.Errorf("%s is given too, and only one of them may be: %w", otherOfOneof(m, field).JSONName(), profile.ErrInvalid)
		case !nested:
			return setValues(m, field, values)
		case field.Message() == nil || field.IsList() || field.IsMap():
			return fmt.Errorf("%s has no fields that a URL can give: %w", head, profile.ErrInvalid)
		}
		m, name = m.Mutable(field).Message(), rest
	}
}

// otherOfOneof is the field that is set where only one may be, and is not this one.
func otherOfOneof(m protoreflect.Message, field protoreflect.FieldDescriptor) protoreflect.FieldDescriptor {
	if oneof := field.ContainingOneof(); oneof != nil {
		if set := m.WhichOneof(oneof); set != nil && set != field {
			return set
		}
	}
	return nil
}

func setValues(m protoreflect.Message, field protoreflect.FieldDescriptor, values []string) error {
	switch {
	case field.IsMap(), field.IsList() && field.Message() != nil:
		return fmt.Errorf("a URL cannot give it: %w", profile.ErrInvalid)
	case !field.IsList() && len(values) > 1:
		return fmt.Errorf("given %d times: %w", len(values), profile.ErrInvalid)
	}
	for _, text := range values {
		value, err := parseValue(m, field, text)
		if err != nil {
			return err
		}
		if field.IsList() {
			m.Mutable(field).List().Append(value)
		} else {
			m.Set(field, value)
		}
	}
	return nil
}

func parseValue(m protoreflect.Message, field protoreflect.FieldDescriptor, text string) (protoreflect.Value, error) {
	var value protoreflect.Value
	var err error
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.ToValidUTF8(text, "\uFFFD")), nil
	case protoreflect.BytesKind:
		bytes, bad := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(text))
		value, err = protoreflect.ValueOfBytes(bytes), bad
	case protoreflect.BoolKind:
		on, bad := strconv.ParseBool(text)
		value, err = protoreflect.ValueOfBool(on), bad
	case protoreflect.EnumKind:
		return parseEnum(field.Enum(), text)
	case protoreflect.Int32Kind:
		n, bad := strconv.ParseInt(text, 10, 32)
		value, err = protoreflect.ValueOfInt32(int32(n)), bad
	case protoreflect.Int64Kind:
		n, bad := strconv.ParseInt(text, 10, 64)
		value, err = protoreflect.ValueOfInt64(n), bad
	case protoreflect.Uint32Kind:
		n, bad := strconv.ParseUint(text, 10, 32)
		value, err = protoreflect.ValueOfUint32(uint32(n)), bad
	case protoreflect.Uint64Kind:
		n, bad := strconv.ParseUint(text, 10, 64)
		value, err = protoreflect.ValueOfUint64(n), bad
	case protoreflect.FloatKind:
		f, bad := strconv.ParseFloat(text, 32)
		value, err = protoreflect.ValueOfFloat32(float32(f)), bad
	case protoreflect.DoubleKind:
		f, bad := strconv.ParseFloat(text, 64)
		value, err = protoreflect.ValueOfFloat64(f), bad
	case protoreflect.MessageKind: // a time or a duration: its JSON is a text
		value = m.NewField(field)
		err = protojson.Unmarshal(strconv.AppendQuote(nil, text), value.Message().Interface())
	default:
		return value, fmt.Errorf("a URL cannot give it: %w", profile.ErrInvalid)
	}
	if err != nil {
		return value, fmt.Errorf("%q: want %s: %w", text, wanted(field), profile.ErrInvalid)
	}
	return value, nil
}

func parseEnum(enum protoreflect.EnumDescriptor, text string) (protoreflect.Value, error) {
	if v := enum.Values().ByName(protoreflect.Name(text)); v != nil {
		return protoreflect.ValueOfEnum(v.Number()), nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err == nil && enum.Values().ByNumber(protoreflect.EnumNumber(n)) != nil {
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
	}
	var names []string
	for i := range enum.Values().Len() {
		names = append(names, string(enum.Values().Get(i).Name()))
	}
	return protoreflect.Value{}, fmt.Errorf("%q: want one of %s, or its number: %w", text, strings.Join(names, ", "), profile.ErrInvalid)
}

// wanted tells people what a field takes.
func wanted(field protoreflect.FieldDescriptor) string {
	if m := field.Message(); m != nil {
		switch m.FullName() {
		case "google.protobuf.Timestamp":
			return "a time such as 2006-01-02T15:04:05Z"
		case "google.protobuf.Duration":
			return "a duration in seconds, such as 10s"
		}
		return "its fields, as " + field.JSONName() + ".NAME"
	}
	switch field.Kind() {
	case protoreflect.BytesKind:
		return "base64"
	case protoreflect.BoolKind:
		return "true or false"
	}
	return "a number that fits"
}

// WriteCallError answers a call at a JSON path with err, as grpc-gateway does.
func WriteCallError(w http.ResponseWriter, err error) {
	told := new(connect.Error)
	if !errors.As(RPCError(err), &told) {
		told = connect.NewError(connect.CodeInternal, err)
	}
	for name, values := range told.Meta() {
		w.Header()[name] = values
	}
	status := httpStatus(told.Code())
	if e := new(Error); errors.As(err, &e) {
		status = e.Status
	}
	WriteJSON(w, status, struct {
		Code    uint32   `json:"code"`
		Message string   `json:"message"`
		Details []string `json:"details"`
	}{uint32(told.Code()), told.Message(), []string{}})
}

func writeMessage(w http.ResponseWriter, status int, m proto.Message) {
	body, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		WriteCallError(w, fmt.Errorf("the answer cannot be written as JSON: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away cannot be told
}
