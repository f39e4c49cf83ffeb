// Package profilestorev1alpha1 carries profiles in.
//
// It is generated from profilestore.proto, whose package is parca.profilestore.v1alpha1: messages, and
// for services a client and a handler that speak gRPC, gRPC-Web and Connect.
package profilestorev1alpha1
