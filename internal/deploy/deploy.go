// Package deploy tests what coldframe is deployed with: Terraform's modules, manifests,
// dashboards, packages and the commands of the guides. It has no code but its tests'.
//
// Tools that are not there are skipped with a reason, and are a failure where CI is set.
package deploy
