"""Asks AGT's own evaluators: one JSON object a line in, one JSON list of [allowed, rule] a line out; null for a policy that AGT does not load."""

import json
import logging
import sys
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import yaml  # noqa: E402
from agent_os.policies.evaluator import PolicyEvaluator  # noqa: E402
from agent_os.policies.schema import PolicyDocument  # noqa: E402
from agentmesh.governance.policy import PolicyEngine  # noqa: E402


def document(case):
    policy = PolicyEvaluator([PolicyDocument.model_validate(yaml.safe_load(case["policy"]))])
    for asked in case["asked"]:
        decision = policy.evaluate(asked["context"], {"timestamp": asked["time"]})
        yield [decision.allowed, "error" if decision.audit_entry.get("error") else decision.matched_rule]


def toolkit(case):
    engine = PolicyEngine()
    engine.load_yaml(case["policy"])
    for asked in case["asked"]:
        decision = engine.evaluate(asked["agent"], asked["context"])
        yield [decision.allowed, decision.matched_rule]


for line in sys.stdin:
    case = json.loads(line)
    try:
        answer = list({"document": document, "toolkit": toolkit}[case["kind"]](case))
    except Exception:  # noqa: BLE001: whatever it is, AGT does not load the policy
        answer = None
    print(json.dumps(answer))
