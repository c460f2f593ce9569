use std::collections::BTreeSet;

use serde_json::Value;

use super::super::native;
use super::*;

fn parsed() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

/// As the reader takes it, and as YAML 1.2 has it: `off` is a word.
fn json(yaml: &str) -> Value {
    serde_saphyr::from_str_with_options(yaml, serde_saphyr::options! { strict_booleans: true }).unwrap()
}

/// The names of the properties of a definition; of the whole for none.
fn properties(schema: &Value, definition: Option<&str>) -> BTreeSet<String> {
    let object = definition.map_or(schema, |name| &schema["$defs"][name]);
    object["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_schema_knows_the_keys_that_the_reader_knows() {
    let schema = parsed();
    for (definition, keys) in native::keys() {
        let known: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(properties(&schema, definition), known, "{definition:?}");
    }
}

#[test]
fn the_schema_takes_every_example() {
    let validator = jsonschema::validator_for(&parsed()).unwrap();
    let page = include_str!("../../../docs/POLICY.md");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|block| block.split_once("```").map(|(text, _)| text));
    let examples = [
        include_str!("../../../examples/policies/coding-agent.yaml"),
        include_str!("../../../examples/policies/research-agent.yaml"),
        include_str!("../../../examples/policies/intranet.yaml"),
        include_str!("../../../examples/policies/mcp-server.yaml"),
    ];
    for text in examples.into_iter().chain(blocks.filter(|text| text.starts_with("ringfence:"))) {
        let errors: Vec<String> = validator.iter_errors(&json(text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{text}");
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let validator = jsonschema::validator_for(&parsed()).unwrap();
    for rule in [
        "allow: a\n  hots: x",
        "host: x",
        "allow: a\n  deny: b",
        "allow: a\n  port: 0",
        "allow: a\n  access: readonly",
        "allow: a\n  header: { k: { perfix: x } }",
        "allow: a\n  header: { k: {} }",
        "allow: a\n  mcp: {}",
        "allow: a\n  rate: 10/min",
        "allow: a\n  when: { days: monday }",
        "allow: a\n  host: []",
        "allow: a\n  mcp: { server: s }\n  ask: [x]",
    ] {
        let text = format!("ringfence: v1\nrules:\n- {rule}\n");
        assert!(!validator.is_valid(&json(&text)), "{rule}");
        assert!(super::super::load(super::super::Source { name: "p", text: &text }).policy.is_none(), "{rule}");
    }
    assert!(!validator.is_valid(&json("rules: []\n")));
}
