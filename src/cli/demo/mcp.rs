//! The demo's MCP server on standard streams, and a client of it. Neither has ever heard of ringfence, which stands between them.

use std::io::{self, BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// What the client may do.
pub(super) const POLICY: &str = "ringfence: v1
mcp_servers:
  files: { stdio: files, pin: off }
rules:
  - allow: read the workspace
    mcp: { server: files, tool: read_file }
    args: { path: { glob: \"/workspace/**\" } }
  - deny: delete anything
    mcp: { server: files, tool: delete_file }
    reason: Deletion needs a person.
    remedy: Open a pull request instead.
";

/// The server: two tools that say what they have done.
pub(super) fn serve() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?).map_err(io::Error::other)?;
        let Some(id) = message.get("id") else { continue };
        let result = match message.get("method").and_then(Value::as_str) {
            Some("initialize") => json!({
                "protocolVersion": "2025-11-25",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "files", "version": "1" },
            }),
            Some("tools/list") => json!({ "tools": [tool("read_file"), tool("delete_file")] }),
            _ => {
                let word = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                let text = format!("{} has done it: {}", word("/params/name"), word("/params/arguments/path"));
                json!({ "content": [{ "type": "text", "text": text }] })
            }
        };
        writeln!(out, "{}", json!({ "jsonrpc": "2.0", "id": id, "result": result }))?;
        out.flush()?;
    }
    Ok(())
}

fn tool(name: &str) -> Value {
    let path = json!({ "type": "string" });
    json!({ "name": name, "inputSchema": { "type": "object", "properties": { "path": path } } })
}

/// The client: starts the server as its configuration says, behind ringfence, and prints what came of each call.
pub(super) fn talk(ringfence: &Path, policy: &Path, audit: &Path) -> io::Result<()> {
    let mut command = Command::new(ringfence);
    command
        .args(["mcp", "--name", "demo-agent", "--server", "files", "--policy"])
        .arg(policy)
        .arg("--audit")
        .arg(audit);
    command.arg("--").arg(ringfence).args(["demo", "--role", "tools", "."]);
    let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(stdin), Some(stdout)) = (server.stdin.take(), server.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut line = Line { stdin, answers: BufReader::new(stdout).lines(), id: 0 };
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "demo", "version": "1" } });
    let mut as_expected = line.ask("initialize", &hello)?.get("result").is_some();
    let tools = line.ask("tools/list", &json!({}))?;
    let names: Vec<_> = tools.pointer("/result/tools").and_then(Value::as_array).into_iter().flatten().collect();
    as_expected &= names.len() == 1;
    let names: Vec<_> = names.iter().filter_map(|tool| tool.get("name")?.as_str()).collect();
    println!("    {:<50} {}", "tools/list", names.join(" "));
    for (tool, path, passes) in [
        ("read_file", "/workspace/notes", true),
        ("read_file", "/etc/passwd", false),
        ("delete_file", "/workspace/notes", false),
    ] {
        let told = line.ask("tools/call", &json!({ "name": tool, "arguments": { "path": path } }))?;
        let text = told.pointer("/result/content/0/text").or(told.pointer("/error/message"));
        println!(
            "    {:<50} {}",
            format!("tools/call {tool} {path}"),
            text.and_then(Value::as_str).unwrap_or("no answer")
        );
        as_expected &= told.get("result").is_some() == passes;
    }
    drop(line);
    let status = server.wait()?;
    if as_expected && status.success() {
        Ok(())
    } else {
        Err(io::Error::other("the tools were not governed as expected"))
    }
}

/// The client's end of the streams.
struct Line {
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    id: u32,
}

impl Line {
    fn ask(&mut self, method: &str, params: &Value) -> io::Result<Value> {
        self.id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params });
        writeln!(self.stdin, "{request}")?;
        let answer = self.answers.next().ok_or(io::ErrorKind::UnexpectedEof)??;
        serde_json::from_str(&answer).map_err(io::Error::other)
    }
}
