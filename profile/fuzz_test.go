package profile_test

import (
	"errors"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

// FuzzDecodeUncompressed: what google/pprof reads and finds valid we read to the
// same content, and what we read it reads; but for what Decoder's documentation
// names.
func FuzzDecodeUncompressed(f *testing.F) {
	for _, c := range wireCases {
		f.Add(c.pprof)
	}
	var d profile.Decoder
	f.Fuzz(func(t *testing.T, data []byte) {
		want, wantErr := pprof.ParseUncompressed(data)
		if wantErr == nil {
			wantErr = want.CheckValid()
		} else if want, wantErr = pprof.ParseData(data); wantErr == nil {
			t.Skip("an older format") // FuzzLegacy
		}
		got, err := d.DecodeUncompressed(data)
		switch {
		case err == nil && wantErr == nil:
			requireSame(t, got, want)
		case err == nil:
			t.Errorf("accepted what google/pprof refuses: %v", wantErr)
		case !errors.Is(err, profile.ErrInvalid):
			t.Errorf("error %v is not ErrInvalid", err)
		case wantErr == nil && !strings.Contains(err.Error(), "more bytes than it needs"):
			t.Errorf("google/pprof accepts it; we say %v", err)
		}
	})
}

// FuzzLegacy: the same of the formats before profile.proto.
func FuzzLegacy(f *testing.F) {
	for name, data := range googleTestdata(f) {
		if !strings.HasSuffix(name, ".string") && len(data) < 8<<10 {
			f.Add(data)
		}
	}
	var d profile.Decoder
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := pprof.ParseUncompressed(data); err == nil || strings.HasPrefix(string(data), "\x1f\x8b") {
			t.Skip("not an older format")
		}
		got, err := d.DecodeUncompressed(data)
		if err != nil {
			if !errors.Is(err, profile.ErrInvalid) {
				t.Errorf("error %v is not ErrInvalid", err)
			}
			if strings.Contains(err.Error(), "memory map") {
				t.Skip("refused as too expensive for google/pprof")
			}
		}
		want, wantErr := pprof.ParseData(data)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, google/pprof's %v", err, wantErr)
		}
		if err == nil {
			requireSame(t, got, want)
		}
	})
}
