// Package scrapev1alpha1 tells of the targets that are scraped.
//
// It is generated from scrape.proto, whose package is parca.scrape.v1alpha1: messages, and
// for services a client and a handler that speak gRPC, gRPC-Web and Connect.
package scrapev1alpha1
