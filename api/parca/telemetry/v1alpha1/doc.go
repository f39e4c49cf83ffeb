// Package telemetryv1alpha1 carries an agent's last words.
//
// It is generated from telemetry.proto, whose package is parca.telemetry.v1alpha1: messages, and
// for services a client and a handler that speak gRPC, gRPC-Web and Connect.
package telemetryv1alpha1
