module github.com/coldframe/coldframe/bpf/ehframe/oracle

go 1.26

require (
	github.com/coldframe/coldframe v0.0.0
	github.com/go-delve/delve v1.27.2
)

replace github.com/coldframe/coldframe => ../../..
