# What the release bot may do. The first rule of the chain that holds decides; a call that none names is denied.
package corp.egress

import rego.v1

args := input.policy_target.value

default verdict := {"decision": "deny", "reason": "not_listed", "message": "This call is not among those the release bot makes."}

verdict := {"decision": "deny", "reason": "host_not_listed", "message": sprintf("%v is not among the hosts of the tool.", [args.host])} if {
	is_request
	not host_is_listed
} else := {"decision": "escalate", "reason": "deletion", "message": "A deletion needs a person."} if {
	is_request
	args.method == "DELETE"
} else := {"decision": "allow"} if {
	is_request
	args.method in {"GET", "HEAD"}
} else := {"decision": "warn", "reason": "writes", "message": "The release bot writes seldom."} if {
	is_request
	startswith(args.path, "/repos/acme/")
} else := {"decision": "allow"} if {
	input.tool.name == "search"
} else := {"decision": "allow"} if {
	input.tool.name == "create_release"
	args.draft == true
	count(args.notes) <= data.limits.notes
}

is_request if input.tool.name == "http.request"

host_is_listed if {
	some pattern in input.tool.security_labels
	glob.match(pattern, ["."], args.host)
}
