// Command coldframe-lambda is coldframe as a function of AWS Lambda: queries, compaction
// and pushes, with nothing that runs between two events.
//
// One binary answers three kinds of events. A request to a function URL, or to an API
// Gateway's, goes to the HTTP API: queries, the web page, pushes. A schedule compacts, one
// shard an invocation. An invocation by another of these functions computes a part of a
// large query. Which of them a function does is said by its roles, and what it may do by
// the rights of its role in AWS; docs/aws.md has both.
//
// It is configured by environment variables alone, see [config]. Only S3 is linked, and
// nothing that looks for other processes: what is not there need not be loaded when a
// function starts.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

// Set by the linker.
var version = "unknown"

func main() {
	f, err := start(context.Background(), os.Getenv)
	if err != nil {
		// Lambda shows it in the log of the initialisation that failed.
		fmt.Fprintf(os.Stderr, "coldframe-lambda %s: %v\n", version, err)
		os.Exit(1)
	}
	lambda.Start(f.handle)
}
