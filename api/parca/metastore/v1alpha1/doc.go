// Package metastorev1alpha1 holds the words that reports use for code.
//
// It is generated from metastore.proto, whose package is parca.metastore.v1alpha1: messages, and
// for services a client and a handler that speak gRPC, gRPC-Web and Connect.
package metastorev1alpha1
