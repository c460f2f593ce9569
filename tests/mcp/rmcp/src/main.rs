//! A server that notes what it executes, and a client that prints what came of each call, on the official SDK: what `../server.py` and
//! `../client.py` are on the one for Python.

mod client;
mod server;

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["server", log, ref rest @ ..] => server::serve(log, rest.contains(&"http")).await,
        ["client", mode, where_to, ref rest @ ..] => client::talk(mode, where_to, rest).await,
        _ => panic!("peer server LOG [http] | peer client MODE URL | peer client MODE COMMAND…"),
    }
}
