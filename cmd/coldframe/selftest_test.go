package main

import "testing"

func TestSelfTest(t *testing.T) {
	if err := selfTest(t.Context()); err != nil {
		t.Fatal(err)
	}
}
