module github.com/coldframe/coldframe/ui/e2e

go 1.26

require (
	github.com/chromedp/cdproto v0.159.2
	github.com/chromedp/chromedp v0.23.0
	github.com/google/pprof v0.0.0-20260906184651-6331bc6350fe
)

require github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
