package serve

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/coldframe/coldframe/profile"
)

// Tokens are who may come in, and for what.
type Tokens struct {
	access map[[sha256.Size]byte]*Access // by the token's hash
}

// Len is how many tokens there are.
func (t *Tokens) Len() int { return len(t.access) }

type tokensYAML struct {
	Tokens []tokenYAML `yaml:"tokens"`
}

type tokenYAML struct {
	Name     string            `yaml:"name"`
	Token    string            `yaml:"token"`
	SHA256   string            `yaml:"sha256"`
	Tenant   string            `yaml:"tenant"`
	Rights   []Right           `yaml:"rights"`
	Selector string            `yaml:"selector"`
	Labels   map[string]string `yaml:"labels"`

	line int
}

// UnmarshalYAML notes the line for errors.
func (y *tokenYAML) UnmarshalYAML(n *yaml.Node) error {
	type plain tokenYAML
	y.line = n.Line
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if !slices.Contains([]string{"name", "token", "sha256", "tenant", "rights", "selector", "labels"}, n.Content[i].Value) {
			return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: unknown key %q", n.Content[i].Line, n.Content[i].Value)}}
		}
	}
	return n.Decode((*plain)(y))
}

// minToken is how long a token must be, in bytes: one that can be guessed is none.
const minToken = 8

// ParseTokens reads a file of tokens:
//
//	tokens:
//	  - name: ci                    # for logs and errors; each once
//	    token: "…"                  # at least 8 bytes; or sha256: its SHA-256 in hex
//	    tenant: team-a              # default: default
//	    rights: [read, write]       # and operate, for /metrics and /debug/pprof
//	    selector: '{env="prod"}'    # holds in every query, whatever it asks
//	    labels: {team: a}           # on everything that is written, whatever it says
//
// file names it in errors, each of which is one line that shows no token. A file without
// tokens is an error: nobody could come in.
func ParseTokens(file string, text []byte) (*Tokens, error) {
	var y tokensYAML
	if err := DecodeYAML(file, text, &y); err != nil {
		return nil, err
	}
	if len(y.Tokens) == 0 {
		return nil, fmt.Errorf("%s: there are no tokens: %w", file, profile.ErrInvalid)
	}
	t := &Tokens{access: map[[sha256.Size]byte]*Access{}}
	names := map[string]bool{}
	for i := range y.Tokens {
		hash, a, err := y.Tokens[i].access()
		switch {
		case err != nil:
		case names[a.Name]:
			err = fmt.Errorf("name %q is there twice", a.Name)
		case t.access[hash] != nil:
			err = fmt.Errorf("it is the token of %q too", t.access[hash].Name)
		}
		if err != nil {
			reason := strings.TrimSuffix(err.Error(), ": "+profile.ErrInvalid.Error())
			return nil, fmt.Errorf("%s:%d: tokens[%d]: %s: %w", file, y.Tokens[i].line, i, reason, profile.ErrInvalid)
		}
		names[a.Name] = true
		t.access[hash] = a
	}
	return t, nil
}

func (y *tokenYAML) access() (hash [sha256.Size]byte, a *Access, err error) {
	a = &Access{Name: y.Name, Rights: y.Rights}
	switch {
	case y.Name == "":
		return hash, nil, errors.New("name is missing")
	case (y.Token == "") == (y.SHA256 == ""):
		return hash, nil, errors.New("want one of token and sha256")
	case y.Token != "" && len(y.Token) < minToken:
		return hash, nil, fmt.Errorf("token has %d bytes, want at least %d", len(y.Token), minToken)
	case y.Token != "":
		hash = sha256.Sum256([]byte(y.Token))
	default:
		b, err := hex.DecodeString(y.SHA256)
		if err != nil || copy(hash[:], b) != len(hash) || len(b) != len(hash) {
			return hash, nil, errors.New("sha256: want 64 hexadecimal digits")
		}
	}
	if a.Tenant, err = profile.ParseTenant(y.Tenant); err != nil {
		return hash, nil, fmt.Errorf("tenant: %w", err)
	}
	if len(y.Rights) == 0 {
		return hash, nil, errors.New("rights are missing: want some of read, write, operate")
	}
	for _, r := range y.Rights {
		if r != Read && r != Write && r != Operate {
			return hash, nil, fmt.Errorf("right %q: want read, write or operate", r)
		}
	}
	selector, err := profile.ParseSelector(y.Selector)
	if err != nil {
		return hash, nil, err
	}
	if !selector.Type.IsZero() {
		return hash, nil, errors.New("selector: only labels can be restricted, not the profile type")
	}
	a.Matchers = selector.Matchers
	if a.Labels, err = profile.LabelsFromMap(y.Labels); err != nil {
		return hash, nil, fmt.Errorf("labels: %w", err)
	}
	return hash, a, nil
}

var (
	unknownField = regexp.MustCompile(`^line (\d+): field (\S+) not found in type .*$`)
	onLine       = regexp.MustCompile(`^line (\d+): (.*)$`)
	goType       = regexp.MustCompile("cannot unmarshal (!!\\w+)( `.*`)? into .*$") // with a value that may be secret
)

// DecodeYAML reads a configuration in which every key must be known. Errors are one line,
// with the file's name, line and key or reason, and do not show values.
func DecodeYAML(file string, text []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err := d.Decode(into)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if e, ok := errors.AsType[*yaml.TypeError](err); ok && len(e.Errors) > 0 {
		message = e.Errors[0]
	}
	message = goType.ReplaceAllString(message, "a value of the kind $1 does not fit here")
	if m := unknownField.FindStringSubmatch(message); m != nil {
		return fmt.Errorf("%s:%s: unknown key %q: %w", file, m[1], m[2], profile.ErrInvalid)
	}
	if m := onLine.FindStringSubmatch(message); m != nil {
		return fmt.Errorf("%s:%s: %s: %w", file, m[1], m[2], profile.ErrInvalid)
	}
	return fmt.Errorf("%s: %s: %w", file, strings.Join(strings.Fields(message), " "), profile.ErrInvalid)
}
