package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// spec is api/openapi.yaml, as far as the tests need it: responses by path, and
// the part of JSON Schema that the file uses. A keyword that the checker does not
// know fails the test instead of passing unchecked.
type spec struct{ root map[string]any }

func loadSpec(t testing.TB) spec {
	t.Helper()
	text, err := os.ReadFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s spec
	if err := yaml.Unmarshal(text, &s.root); err != nil {
		t.Fatal(err)
	}
	return s
}

// answer checks a JSON body against what the path's response promises; a status
// that is not listed means the default one.
func (s spec) answer(t testing.TB, path, status string, body []byte) {
	t.Helper()
	responses := s.at("paths", path, "get", "responses")
	if responses == nil {
		t.Fatalf("%s is not in openapi.yaml", path)
	}
	response, listed := responses[status].(map[string]any)
	if !listed {
		response = responses["default"].(map[string]any)
	}
	response = s.resolve(response)
	schema := response["content"].(map[string]any)["application/json"].(map[string]any)["schema"].(map[string]any)
	s.check(t, path+" "+status, schema, body)
}

func (s spec) check(t testing.TB, what string, schema map[string]any, body []byte) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v in %.300q", what, err, body)
	}
	if err := s.validate(schema, v, "$"); err != nil {
		t.Errorf("%s: %v\n%.1000s", what, err, body)
	}
}

func (s spec) at(path ...string) map[string]any {
	v := s.root
	for _, p := range path {
		v, _ = v[p].(map[string]any)
	}
	return v
}

func (s spec) resolve(schema map[string]any) map[string]any {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	return s.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
}

func (s spec) validate(schema map[string]any, v any, where string) error {
	schema = s.resolve(schema)
	for _, keyword := range slices.Sorted(maps.Keys(schema)) {
		if err := s.keyword(schema, keyword, v); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		return s.validateObject(schema, v, where)
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, item := range v {
			if err := s.validate(items, item, fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s spec) validateObject(schema, v map[string]any, where string) error {
	properties, _ := schema["properties"].(map[string]any)
	for name, value := range v {
		property, known := properties[name].(map[string]any)
		if !known {
			if property, known = schema["additionalProperties"].(map[string]any); !known {
				return fmt.Errorf("%s: property %q is not described", where, name)
			}
		}
		if err := s.validate(property, value, where+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func (s spec) keyword(schema map[string]any, keyword string, v any) error {
	switch want := schema[keyword]; keyword {
	case "description", "properties", "additionalProperties", "items", "default", "examples", "format":
		return nil
	case "type":
		if got := jsonType(v); got != want && (got != "integer" || want != "number") {
			return fmt.Errorf("is %s, want %v", got, want)
		}
	case "required":
		for _, name := range want.([]any) {
			if _, ok := v.(map[string]any)[name.(string)]; !ok {
				return fmt.Errorf("property %q is missing", name)
			}
		}
	case "enum":
		if !slices.Contains(want.([]any), v) {
			return fmt.Errorf("%v is none of %v", v, want)
		}
	case "minimum":
		if f, err := v.(json.Number).Float64(); err != nil || f < float64(want.(int)) {
			return fmt.Errorf("%v is below %v", v, want)
		}
	case "minItems", "maxItems":
		if n := len(v.([]any)); keyword == "minItems" && n < want.(int) || keyword == "maxItems" && n > want.(int) {
			return fmt.Errorf("%d items, %s is %v", n, keyword, want)
		}
	default:
		return fmt.Errorf("the checker does not know %q", keyword)
	}
	return nil
}

func jsonType(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") {
			return "integer"
		}
		return "number"
	}
	return "null"
}

// The examples in the file are answers, so they must be valid ones.
func TestExamplesOfTheSpec(t *testing.T) {
	s := loadSpec(t)
	for path, methods := range s.at("paths") {
		for method := range methods.(map[string]any) {
			for status := range s.at("paths", path, method, "responses") {
				response := s.resolve(s.at("paths", path, method, "responses", status))
				content, _ := response["content"].(map[string]any)
				media, ok := content["application/json"].(map[string]any)
				if !ok {
					continue
				}
				body, err := json.Marshal(media["example"])
				if err != nil {
					t.Fatal(err)
				}
				s.check(t, method+" "+path+" "+status, media["schema"].(map[string]any), body)
			}
		}
	}
}
