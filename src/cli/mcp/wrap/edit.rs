//! The text of a client's configuration, changed in place.
//!
//! Comments and trailing commas, which some clients take, are overwritten with blanks in a copy; the copy is read strictly, and what was found
//! there is changed in the text itself, at the same places.

use std::io;
use std::ops::Range;

use crate::parse::json::{self, Kind, Layout, Token};

/// A server with a command.
#[derive(Debug, Default)]
struct Server {
    name: String,
    /// The value of `command`, with its quotes.
    command: Option<Range<usize>>,
    /// Inside of the brackets of `args`.
    args: Option<Range<usize>>,
    /// The words in `args`, where they stand.
    words: Vec<Range<usize>>,
}

/// The text with `ringfence mcp` in front of every server that has a command and is not wrapped yet; their names.
///
/// # Errors
/// If the text is not the configuration of a client that is known.
pub(super) fn wrap(text: &str, program: &str, policy: Option<&str>) -> io::Result<(String, Vec<String>)> {
    change(text, |server, edits| {
        let (Some(command), None) = (&server.command, unwrapped(text, server)) else { return };
        let mut words = vec!["mcp", "--server", &server.name];
        words.extend(policy.iter().flat_map(|policy| ["--policy", policy]));
        words.push("--");
        // Blanks behind the commas tell arguments that were not there from a list of none.
        let comma = if server.args.is_some() && server.words.is_empty() { "," } else { ", " };
        let mut inserted: String = words.iter().map(|word| quoted(word) + comma).collect();
        inserted.push_str(slice(text, command));
        match &server.args {
            Some(args) if server.words.is_empty() => edits.push((args.start..args.start, inserted)),
            Some(args) => edits.push((args.start..args.start, inserted + ", ")),
            None => edits.push((command.end..command.end, format!(", \"args\": [{inserted}]"))),
        }
        edits.push((command.clone(), quoted(program)));
    })
}

/// The text without what [`wrap`] has put there; the names of the servers that were wrapped.
///
/// # Errors
/// If the text is not the configuration of a client that is known.
pub(super) fn unwrap(text: &str) -> io::Result<(String, Vec<String>)> {
    change(text, |server, edits| {
        let (Some(command), Some(args)) = (&server.command, &server.args) else { return };
        let Some(at) = unwrapped(text, server) else { return };
        let Some(original) = server.words.get(at) else { return };
        edits.push((command.clone(), slice(text, original).to_owned()));
        let next = server.words.get(at + 1);
        let words = slice(text, &(args.start..original.end));
        let added = format!(", \"args\": [{words}]");
        let whole = command.end..command.end + added.len();
        if next.is_none() && words.starts_with("\"mcp\", ") && text.get(whole.clone()) == Some(&added) {
            return edits.push((whole, String::new()));
        }
        let end = match next {
            Some(_) if text.get(original.end..original.end + 2) == Some(", ") => original.end + 2,
            Some(next) => next.start,
            None => original.end,
        };
        edits.push((args.start..end, String::new()));
    })
}

/// Which word of a wrapped server is its own command.
fn unwrapped(text: &str, server: &Server) -> Option<usize> {
    let word = |range: &Range<usize>| json::decode(slice(text, range).as_bytes()).into_owned();
    let program = word(server.command.as_ref()?);
    let is_ours = program.rsplit('/').next() == Some("ringfence");
    let first = server.words.first().filter(|first| is_ours && word(first) == "mcp")?;
    debug_assert!(server.args.as_ref().is_some_and(|args| args.start <= first.start));
    let dashes = server.words.iter().position(|each| word(each) == "--")?;
    server.words.get(dashes + 1).map(|_| dashes + 1)
}

fn change(
    text: &str,
    mut each: impl FnMut(&Server, &mut Vec<(Range<usize>, String)>),
) -> io::Result<(String, Vec<String>)> {
    let servers = servers(text)?;
    let (mut edits, mut names) = (Vec::new(), Vec::new());
    for server in &servers {
        let before = edits.len();
        each(server, &mut edits);
        if edits.len() > before {
            names.push(server.name.clone());
        }
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse((range.start, range.end)));
    let mut text = text.to_owned();
    edits.iter().for_each(|(range, replacement)| text.replace_range(range.clone(), replacement));
    Ok((text, names))
}

fn slice<'t>(text: &'t str, range: &Range<usize>) -> &'t str {
    text.get(range.clone()).unwrap_or_default()
}

fn quoted(word: &str) -> String {
    let mut out = Vec::new();
    json::encode(word, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// The servers in a configuration.
fn servers(text: &str) -> io::Result<Vec<Server>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let plain = without_comments(text.as_bytes());
    // Where each open container is: the names on the way to it.
    let mut path: Vec<String> = Vec::new();
    let mut key = String::new();
    let mut found = Vec::new();
    let mut has_list = false;
    let read = json::each(&plain, Layout::Free, |token| {
        let at = Place { token, path: &path, key: &key };
        has_list |= at.is_list();
        at.note(&mut found);
        match token.kind {
            Kind::Key => key = json::decode(token.of(&plain)).into_owned(),
            Kind::ObjectStart | Kind::ArrayStart => path.push(std::mem::take(&mut key)),
            Kind::ObjectEnd | Kind::ArrayEnd => key = path.pop().unwrap_or_default(),
            _ => {}
        }
    });
    read.map_err(|error| wrong(format!("not a configuration that can be changed safely: {error}")))?;
    if !has_list {
        let what = "no `mcpServers` (Claude, Cursor, Windsurf, Gemini CLI) and no `servers` (VS Code) in it";
        return Err(wrong(what.to_owned()));
    }
    Ok(found)
}

/// A token and where it stands.
struct Place<'p> {
    token: Token,
    path: &'p [String],
    key: &'p str,
}

impl Place<'_> {
    /// The names around, without the root's.
    fn names(&self) -> Vec<&str> {
        self.path.iter().skip(1).map(String::as_str).collect()
    }

    /// The object that has the servers by their names.
    fn is_list(&self) -> bool {
        self.token.kind == Kind::ObjectStart
            && matches!(
                (self.names().as_slice(), self.key),
                ([] | ["projects", _], "mcpServers") | ([] | ["mcp"], "servers")
            )
    }

    fn note(&self, found: &mut Vec<Server>) {
        let names = self.names();
        let depth = match names.as_slice() {
            ["mcpServers" | "servers", ..] => 1,
            ["mcp", "servers", ..] => 2,
            ["projects", _, "mcpServers", ..] => 3,
            _ => return,
        };
        let inside = names.get(depth..).unwrap_or_default();
        let span = self.token.start..self.token.end;
        match (inside, self.token.kind) {
            ([], Kind::ObjectStart) => found.push(Server { name: self.key.to_owned(), ..Server::default() }),
            ([_], Kind::String) if self.key == "command" => self.last(found, |server| server.command = Some(span)),
            ([_], Kind::ArrayStart) if self.key == "args" => {
                self.last(found, |server| server.args = Some(span.end..span.end));
            }
            ([_, "args"], Kind::String) => self.last(found, |server| server.words.push(span)),
            _ => {}
        }
    }

    fn last(&self, found: &mut [Server], then: impl FnOnce(&mut Server)) {
        if let Some(server) = found.last_mut() {
            then(server);
        }
    }
}

/// The text with comments and commas in front of a closing bracket overwritten by blanks.
fn without_comments(text: &[u8]) -> Vec<u8> {
    let mut plain = text.to_vec();
    let (mut at, mut comma) = (0, None);
    while let Some(&byte) = text.get(at) {
        let end = match (byte, text.get(at + 1)) {
            (b'"', _) => string_end(text, at),
            (b'/', Some(b'/')) => {
                text.iter().skip(at).position(|&byte| byte == b'\n').map_or(text.len(), |line| at + line)
            }
            (b'/', Some(b'*')) => memchr::memmem::find(text.get(at + 2..).unwrap_or_default(), b"*/")
                .map_or(text.len(), |close| at + close + 4),
            _ => at + 1,
        };
        if byte == b'/' && end > at + 1 {
            plain.get_mut(at..end).unwrap_or_default().fill(b' ');
        } else if matches!(byte, b'}' | b']') {
            if let Some(comma) = comma.take().and_then(|comma: usize| plain.get_mut(comma)) {
                *comma = b' ';
            }
        } else if !byte.is_ascii_whitespace() {
            comma = (byte == b',').then_some(at);
        }
        at = end;
    }
    plain
}

fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
