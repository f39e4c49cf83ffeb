// Package api is the wire: what clients say and hear. openapi.yaml describes the HTTP
// API; below parca/ stand the messages of Parca's API, whose package names, message names
// and field numbers are Parca's, so that its clients understand us.
//
// The Go beside each .proto is generated and committed; `make generate` writes it anew.
package api

//go:generate go run ../internal/protogen .
