// Package sharev1alpha1 puts a profile where all who have its link can see it.
//
// It is generated from share.proto, whose package is parca.share.v1alpha1: messages, and
// for services a client and a handler that speak gRPC, gRPC-Web and Connect.
package sharev1alpha1
