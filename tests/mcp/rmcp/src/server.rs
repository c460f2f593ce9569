//! The server, which notes what it executes, on standard streams or over HTTP.

use std::fs::OpenOptions;
use std::io::Write;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    ListResourcesResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    Resource, ResourceContents, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt, schemars, tool, tool_handler, tool_router};

#[derive(Clone)]
struct Files {
    log: String,
    tool_router: ToolRouter<Files>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct At {
    path: String,
}

#[tool_router]
impl Files {
    fn new(log: &str) -> Files {
        Files { log: log.to_owned(), tool_router: Self::tool_router() }
    }

    fn note(&self, what: &str) {
        let file = OpenOptions::new().create(true).append(true).open(&self.log);
        writeln!(file.expect("the log opens"), "{what}").expect("the log is written");
    }

    #[tool(description = "Reads a file.")]
    fn read_file(&self, Parameters(At { path }): Parameters<At>) -> String {
        self.note(&format!("read_file {path}"));
        format!("content of {path}")
    }

    #[tool(description = "Deletes a file.")]
    fn delete_file(&self, Parameters(At { path }): Parameters<At>) -> String {
        self.note(&format!("delete_file {path}"));
        format!("deleted {path}")
    }

    #[tool(description = "Asks the client something first.")]
    #[allow(deprecated, reason = "later versions have no such request, and clients still speak the earlier ones")]
    async fn whose_roots(&self, context: RequestContext<RoleServer>) -> Result<String, ErrorData> {
        let roots = context.peer.list_roots().await;
        let roots = roots.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        self.note("whose_roots");
        let uris: Vec<String> = roots.roots.iter().map(|root| format!("'{}'", root.uri)).collect();
        Ok(format!("[{}]", uris.join(", ")))
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Files {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_resources().build())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = ["note://workspace/today", "note://private/diary"].map(|uri| Resource::new(uri, uri.to_owned()));
        Ok(ListResourcesResult { resources: resources.to_vec(), ..Default::default() })
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let text = match &*request.uri {
            "note://workspace/today" => "today",
            "note://private/diary" => {
                self.note("diary");
                "dear diary"
            }
            _ => return Err(ErrorData::resource_not_found("no such note", None)),
        };
        Ok(ReadResourceResult::new(vec![ResourceContents::text(text, request.uri)]).into())
    }
}

pub(crate) async fn serve(log: &str, over_http: bool) {
    let files = Files::new(log);
    if !over_http {
        let running = files.serve(rmcp::transport::stdio()).await.expect("it starts");
        running.waiting().await.expect("it ends");
        return;
    }
    // Its name is one that the client's side gives it.
    let config = StreamableHttpServerConfig::default().disable_allowed_hosts();
    let service = StreamableHttpService::new(move || Ok(files.clone()), LocalSessionManager::default().into(), config);
    let service = TowerToHyperService::new(service);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address").port());
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let service = service.clone();
        tokio::spawn(async move {
            // A client that goes away is no error here.
            let _ = Builder::new(TokioExecutor::default()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
