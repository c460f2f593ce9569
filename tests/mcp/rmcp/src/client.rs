//! The client, which prints what came of each call and each read.

#![allow(deprecated, reason = "later versions have no roots to ask for, and servers still speak the earlier ones")]

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientInfo, Implementation, ListRootsResult,
    ProtocolVersion, ReadResourceRequestParams, ResourceContents, Root,
};
use rmcp::service::{RequestContext, RunningService, ServiceError};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient};
use serde_json::{Value, json};

#[derive(Clone)]
struct Rooted;

impl ClientHandler for Rooted {
    fn get_info(&self) -> ClientInfo {
        let able = ClientCapabilities::builder().enable_roots().build();
        ClientInfo::new(able, Implementation::new("peer", "1"))
    }

    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(ListRootsResult::new(vec![Root::new("file:///workspace")]))
    }
}

fn say(step: &str, mut what: Value) {
    what["step"] = step.into();
    println!("{what}");
}

pub(crate) async fn talk(mode: &str, where_to: &str, rest: &[&str]) {
    let lifecycle = match mode {
        "legacy" => ClientLifecycleMode::Initialize,
        _ => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
    };
    let client = if where_to.starts_with("http://") {
        let transport = StreamableHttpClientTransport::from_uri(where_to.to_owned());
        Rooted.serve_with_lifecycle(transport, lifecycle).await
    } else {
        let mut command = tokio::process::Command::new(where_to);
        command.args(rest);
        let transport = TokioChildProcess::new(command).expect("the server starts");
        Rooted.serve_with_lifecycle(transport, lifecycle).await
    };
    let client = client.expect("it connects");
    let version = client.peer_info().map(|info| info.protocol_version.to_string());
    say("connected", json!({ "version": version }));
    let mut tools: Vec<String> =
        client.list_all_tools().await.expect("tools").into_iter().map(|tool| tool.name.into_owned()).collect();
    tools.sort();
    say("tools", json!({ "names": tools }));
    let mut resources: Vec<String> =
        client.list_all_resources().await.expect("resources").into_iter().map(|each| each.uri.clone()).collect();
    resources.sort();
    say("resources", json!({ "names": resources }));
    call(&client, "allowed", "read_file", json!({ "path": "/workspace/a" })).await;
    call(&client, "denied argument", "read_file", json!({ "path": "/etc/passwd" })).await;
    call(&client, "denied tool", "delete_file", json!({ "path": "/workspace/a" })).await;
    read(&client, "denied resource", "note://private/diary").await;
    if mode == "legacy" {
        call(&client, "roots", "whose_roots", json!({})).await;
    }
    read(&client, "resource", "note://workspace/today").await;
    call(&client, "allowed again", "read_file", json!({ "path": "/workspace/b" })).await;
    client.cancel().await.expect("it ends");
}

type Client = RunningService<RoleClient, Rooted>;

async fn call(client: &Client, step: &str, tool: &str, arguments: Value) {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    match client.call_tool(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)).await {
        Ok(CallToolResult { content, is_error, .. }) => {
            let text = content.first().and_then(|content| content.as_text()).map(|text| text.text.clone());
            say(step, json!({ "text": text, "is_error": is_error.unwrap_or(false) }));
        }
        Err(error) => refused(step, &error),
    }
}

async fn read(client: &Client, step: &str, uri: &str) {
    match client.read_resource(ReadResourceRequestParams::new(uri)).await {
        Ok(result) => {
            let text = result.contents.iter().find_map(|content| match content {
                ResourceContents::TextResourceContents { text, .. } => Some(text.clone()),
                _ => None,
            });
            say(step, json!({ "text": text }));
        }
        Err(error) => refused(step, &error),
    }
}

/// The error that the SDK hands to its caller.
fn refused(step: &str, error: &ServiceError) {
    let ServiceError::McpError(error) = error else {
        return say(step, json!({ "broken": error.to_string() }));
    };
    let data = error.data.clone().unwrap_or_default();
    say(step, json!({ "code": error.code.0, "message": error.message, "rule": data["rule"], "decision": data["decision"] }));
}
