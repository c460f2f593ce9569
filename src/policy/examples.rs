//! The examples that people copy are tested: every policy in `docs/POLICY.md` and `examples/policies` loads without a problem.

use super::{Source, load};

fn loads_without_a_problem(name: &str, text: &str) {
    let problems = load(Source { name, text }).problems;
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn the_example_policies_load_without_a_problem() {
    loads_without_a_problem("coding-agent.yaml", include_str!("../../examples/policies/coding-agent.yaml"));
    loads_without_a_problem("research-agent.yaml", include_str!("../../examples/policies/research-agent.yaml"));
    loads_without_a_problem("mcp-server.yaml", include_str!("../../examples/policies/mcp-server.yaml"));
    loads_without_a_problem("intranet.yaml", include_str!("../../examples/policies/intranet.yaml"));
}

#[test]
fn the_policies_of_the_documentation_load_without_a_problem() {
    let page = include_str!("../../docs/POLICY.md");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|block| block.split_once("```")).map(|(text, _)| text);
    let policies: Vec<&str> = blocks.filter(|text| text.contains("ringfence: v1")).collect();
    assert_eq!(policies.len(), 8);
    for text in policies {
        loads_without_a_problem("docs/POLICY.md", text);
    }
}
