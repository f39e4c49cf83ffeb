// Package debuginfov1alpha1 carries in the binaries whose symbols are needed.
//
// It is generated from debuginfo.proto, whose package is parca.debuginfo.v1alpha1: messages, and
// for services a client and a handler that speak gRPC, gRPC-Web and Connect.
package debuginfov1alpha1
