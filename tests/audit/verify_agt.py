"""Asks the Agent Governance Toolkit's verifier about a file: prints its verdict and how many errors it names."""

import sys

from agentmesh.governance.audit_backends import HashChainVerifier

valid, errors = HashChainVerifier().verify_file(sys.argv[1], sys.argv[2].encode())
print(valid, len(errors))
