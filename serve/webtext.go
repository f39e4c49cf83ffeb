package serve

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/coldframe/coldframe/profile"
)

const (
	grpcWeb     = "application/grpc-web"
	grpcWebText = "application/grpc-web-text"
)

// acceptWebText has requests in application/grpc-web-text, which is gRPC-Web in base64
// both ways, answered by a handler that knows the binary form only. It is what
// browsers' clients send that want to read an answer while it comes.
func acceptWebText(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		encoding, isText := strings.CutPrefix(r.Header.Get("Content-Type"), grpcWebText)
		if !isText {
			next.ServeHTTP(w, r)
			return
		}
		r.Header.Set("Content-Type", grpcWeb+encoding)
		if accept := r.Header.Get("Accept"); strings.HasPrefix(accept, grpcWebText) {
			r.Header.Set("Accept", grpcWeb+strings.TrimPrefix(accept, grpcWebText))
		}
		r.Header.Del("Content-Length")
		r.ContentLength = -1
		r.Body = struct {
			io.Reader
			io.Closer
		}{&textReader{in: r.Body}, r.Body}
		text := &textWriter{ResponseWriter: w}
		next.ServeHTTP(text, r)
		text.end()
	})
}

// textReader decodes base64 that was written in pieces, each with its own padding.
type textReader struct {
	in      io.Reader
	raw     [4 << 10]byte
	pending int    // bytes of raw that are less than four
	decoded []byte // not read yet
	buf     [3 << 10]byte
	err     error
}

func (t *textReader) Read(p []byte) (int, error) {
	for len(t.decoded) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.fill()
	}
	n := copy(p, t.decoded)
	t.decoded = t.decoded[n:]
	return n, nil
}

// fill reads some text and decodes its whole groups of four.
func (t *textReader) fill() {
	n, err := t.in.Read(t.raw[t.pending:])
	n += t.pending
	whole := n - n%4
	out := t.buf[:0]
	for at := 0; at < whole && t.err == nil; {
		end := whole
		if pad := strings.IndexByte(string(t.raw[at:whole]), '='); pad >= 0 { // a piece ends in the group that has it
			end = min(at+pad-pad%4+4, whole)
		}
		out, t.err = base64.StdEncoding.AppendDecode(out, t.raw[at:end])
		at = end
	}
	t.decoded = out
	t.pending = copy(t.raw[:], t.raw[whole:n])
	switch {
	case t.err != nil:
		t.err = fmt.Errorf("%s: %w: %w", grpcWebText, t.err, profile.ErrInvalid)
	case errors.Is(err, io.EOF) && t.pending > 0:
		t.err = fmt.Errorf("%s: %d characters after the last group of four: %w", grpcWebText, t.pending, io.ErrUnexpectedEOF)
	default:
		t.err = err
	}
}

// textWriter encodes what is written to it. What does not fill a group of three waits
// for more, for a flush or for the end.
type textWriter struct {
	http.ResponseWriter
	wrote   bool
	encoder io.WriteCloser
}

func (t *textWriter) WriteHeader(status int) {
	h := t.Header()
	if encoding, ok := strings.CutPrefix(h.Get("Content-Type"), grpcWeb); ok {
		h.Set("Content-Type", grpcWebText+encoding)
		h.Del("Content-Length")
	}
	t.wrote = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *textWriter) Write(p []byte) (int, error) {
	if !t.wrote {
		t.WriteHeader(http.StatusOK)
	}
	if !strings.HasPrefix(t.Header().Get("Content-Type"), grpcWebText) {
		return t.ResponseWriter.Write(p) // an answer of another kind, as a 404
	}
	if t.encoder == nil {
		t.encoder = base64.NewEncoder(base64.StdEncoding, t.ResponseWriter)
	}
	return t.encoder.Write(p)
}

// Flush implements [http.Flusher].
func (t *textWriter) Flush() {
	t.end()
	_ = http.NewResponseController(t.ResponseWriter).Flush() // a writer that cannot flush has no need to
}

// Unwrap lets [http.ResponseController] reach the connection.
func (t *textWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// end ends the piece that is being written. Of an answer that has only headers these are
// written here, while their content type can still be changed.
func (t *textWriter) end() {
	if !t.wrote {
		t.WriteHeader(http.StatusOK)
	}
	if t.encoder != nil {
		_ = t.encoder.Close() // a client that went away cannot be told
		t.encoder = nil
	}
}
