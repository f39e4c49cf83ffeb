// Package queryv1alpha1 asks about profiles.
//
// It is generated from query.proto, whose package is parca.query.v1alpha1: messages, and
// for services a client and a handler that speak gRPC, gRPC-Web and Connect.
package queryv1alpha1
