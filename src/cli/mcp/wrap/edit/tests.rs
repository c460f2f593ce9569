use super::*;

const CURSOR: &str = r#"{
  // what we use
  "mcpServers": {
    "files": {
      "command": "npx", /* from npm */
      "args": [
        "-y",
        "server-files", // the folder follows
        "/workspace",
      ],
      "env": { "command": "x" }
    },
    "bare": { "command": "C:\\server" },
    "empty": { "args": [ ], "command": "server" },
    "web": { "url": "https://mcp.example.com/mcp" },
  }
}
"#;

fn wrapped(text: &str) -> (String, Vec<String>) {
    wrap(text, "/usr/bin/ringfence", Some("/etc/p.yaml")).unwrap()
}

#[test]
fn puts_ringfence_in_front_of_every_command_and_leaves_the_rest_alone() {
    let (text, names) = wrapped(CURSOR);
    assert_eq!(names, ["files", "bare", "empty"]);
    let tight = r#""mcp","--server","empty","--policy","/etc/p.yaml","--","#;
    let front = |name: &str| format!(r#""mcp", "--server", "{name}", "--policy", "/etc/p.yaml", "--", "#);
    let expected = CURSOR
        .replace(r#""command": "npx""#, r#""command": "/usr/bin/ringfence""#)
        .replace("\"args\": [\n", &format!("\"args\": [{}\"npx\", \n", front("files")))
        .replace(
            r#""command": "C:\\server""#,
            &format!(r#""command": "/usr/bin/ringfence", "args": [{}"C:\\server"]"#, front("bare")),
        )
        .replace(
            r#""args": [ ], "command": "server""#,
            &format!(r#""args": [{tight}"server" ], "command": "/usr/bin/ringfence""#),
        );
    assert_eq!(text, expected);
}

#[test]
fn wrapping_twice_is_wrapping_once_and_unwrapping_restores_every_byte() {
    let shapes = [
        CURSOR.to_owned(),
        r#"{"servers":{"a":{"type":"stdio","command":"x","args":["y"]}},"inputs":[]}"#.to_owned(),
        r#"{"editor.x":1,"mcp":{"servers":{"a":{"command":"x","args":[]}}}}"#.to_owned(),
        r#"{"mcpServers": {"a": {"command": "x", "args": []}, "b": {"command": "x"}}}"#.to_owned(),
        r#"{"numStartups":3,"projects":{"/workspace":{"mcpServers":{"a b":{"command":"x"}}}},"mcpServers":{}}"#
            .to_owned(),
        "{\"mcpServers\":{\"a\":{\"args\":[\"\\u0061\",\"--\",\"b\"],\"command\":\"x \\\"y\\\"\"}}}".to_owned(),
        "\n{\"mcpServers\":{\"ringfence\":{\"command\":\"ringfence\",\"args\":[\"serve\"]}}}".to_owned(),
    ];
    for shape in shapes {
        let (once, names) = wrapped(&shape);
        assert!(!names.is_empty() && once != shape, "{shape}");
        assert_eq!(wrapped(&once), (once.clone(), Vec::new()), "{shape}");
        assert_eq!(unwrap(&once).unwrap(), (shape.clone(), names), "{shape}");
        assert_eq!(unwrap(&shape).unwrap(), (shape.clone(), Vec::new()), "{shape}");
    }
}

#[test]
fn what_is_no_clients_configuration_is_refused() {
    for text in [
        "",
        "{}",
        "[]",
        "{\"mcpServers\": [",
        r#"{"mcpServers":{},"mcpServers":{}}"#,
        r#"{"x":{"mcpServers":{"a":{"command":"x"}}}}"#,
    ] {
        assert!(wrap(text, "ringfence", None).is_err(), "{text}");
    }
    assert_eq!(wrap(r#"{"mcpServers":{}}"#, "ringfence", None).unwrap().1, [""; 0]);
}

#[test]
fn what_looks_like_a_comment_in_a_string_is_none() {
    let text = r#"{"mcpServers":{"a//b":{"command":"/*x*/","args":["http://a,]"]}}} // end"#;
    let (once, names) = wrapped(text);
    assert_eq!(names, ["a//b"]);
    assert_eq!(unwrap(&once).unwrap().0, text);
}
