//! A Rust source file as the rules read it: which code stands where, once comments, literals and tests are out of the way.
//!
//! This is no parser. It knows tokens, nested braces, attributes and `use` trees, which is what the rules need, and it keeps
//! every character's line so that a finding can name one.

use std::path::{Path, PathBuf};

/// One file of the tree.
pub(crate) struct Source {
    /// Path from the root of the package, with `/` between components.
    pub(crate) path: String,
    /// The file as written.
    pub(crate) text: String,
    /// `text` with comments and the contents of literals blanked out (quotes stay); same length in characters, same lines.
    pub(crate) code: String,
    /// `code` with everything blanked that is compiled for tests only.
    pub(crate) shipped: String,
    /// Files, without extension, that `#[cfg(test)] mod NAME;` declares from here.
    test_modules: Vec<String>,
}

/// A path as code names it, with `crate`, `self` and `super` resolved: `["crate", "policy", "Permit"]`, `["std", "fs"]`.
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

/// A function: where it starts and how many lines it takes, signature and closing brace included.
pub(crate) struct Function {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let code = blank_comments_and_literals(text);
        let (shipped, declared) = blank_tests(&code);
        let folder = module_folder(path);
        let test_modules = declared.iter().map(|name| format!("{folder}/{name}")).collect();
        Source { path: path.to_owned(), text: text.to_owned(), code, shipped, test_modules }
    }

    /// Is the file in this folder, or the file of that name? `within("src/io/engine")` holds for `src/io/engine/mod.rs` and for
    /// `src/io/engine.rs`.
    pub(crate) fn within(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    }

    /// Every path that `code` names, `use` trees expanded.
    pub(crate) fn names(&self, code: &str) -> Vec<Named> {
        let tokens = tokens(code);
        let module = module_of(&self.path);
        let mut found = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let starts = is_word(&tokens[at].1) && (at == 0 || tokens[at - 1].1 != "::");
            // `use<'a>` in a return type captures lifetimes; it imports nothing.
            if tokens[at].1 == "use" && tokens.get(at + 1).is_some_and(|(_, next)| next != "<") {
                at = use_tree(&tokens, at + 1, &[], &mut found);
            } else if starts {
                at = inline_path(&tokens, at, &mut found);
            } else {
                at += 1;
            }
        }
        for named in &mut found {
            named.segments = resolve(&module, std::mem::take(&mut named.segments));
        }
        found
    }

    /// Every word of `code`: identifiers and keywords, with their lines.
    pub(crate) fn words(code: &str) -> Vec<(usize, String)> {
        tokens(code).into_iter().filter(|(_, token)| is_word(token)).collect()
    }

    /// The functions that have a body.
    pub(crate) fn functions(code: &str) -> Vec<Function> {
        let tokens = tokens(code);
        let mut found = Vec::new();
        for at in 0..tokens.len() {
            if tokens[at].1 != "fn" || !tokens.get(at + 1).is_some_and(|(_, name)| is_word(name)) {
                continue;
            }
            if let Some(end) = body_end(&tokens, at) {
                let (line, name) = (tokens[at].0, tokens[at + 1].1.clone());
                found.push(Function { line, name, lines: tokens[end].0 - line + 1 });
            }
        }
        found
    }
}

/// Reads every `.rs` file below the given folders of the package. A module that only tests declare has no shipped code.
pub(crate) fn tree(root: &Path, folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        collect(&root.join(folder), "rs", &mut files);
    }
    files.sort();
    let mut sources: Vec<Source> = files.iter().map(|file| Source::new(&relative(root, file), &read(file))).collect();
    let test_modules: Vec<String> = sources.iter().flat_map(|source| source.test_modules.clone()).collect();
    for source in &mut sources {
        if test_modules.iter().any(|module| source.within(module)) {
            source.shipped = blank(&source.code);
        }
    }
    sources
}

/// Every file below `folder` with this extension. A folder that does not exist has none.
pub(crate) fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder of the package can be listed").path();
        let skipped = path.file_name().is_some_and(|name| name == "target" || name == "artifacts" || name == "corpus");
        if path.is_dir() && !skipped {
            collect(&path, extension, files);
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
}

pub(crate) fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub(crate) fn relative(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).expect("the file lies in the package").to_string_lossy().into_owned()
}

/// Where the modules declared in this file live: `src/parse/mod.rs` and `src/parse.rs` both have theirs in `src/parse`.
fn module_folder(path: &str) -> String {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    ["/mod", "/lib", "/main"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem).to_owned()
}

/// The module a file is: `src/io/engine/timer.rs` is `crate::io::engine::timer`.
fn module_of(path: &str) -> Vec<String> {
    let folder = module_folder(path);
    let inner = folder.strip_prefix("src").unwrap_or(&folder);
    let names = inner.split('/').filter(|name| !name.is_empty()).map(str::to_owned);
    std::iter::once("crate".to_owned()).chain(names).collect()
}

fn resolve(module: &[String], segments: Vec<String>) -> Vec<String> {
    let mut base = match segments[0].as_str() {
        "ringfence" => vec!["crate".to_owned()],
        "self" | "super" => module.to_vec(),
        _ => return segments,
    };
    let mut rest = segments.into_iter().peekable();
    rest.next_if(|first| first == "ringfence" || first == "self");
    while rest.next_if(|segment| segment == "super").is_some() {
        base.pop();
    }
    base.extend(rest);
    base
}

type Token = (usize, String);

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Words, `::`, and every other character that is no space, each with its line.
fn tokens(code: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = code.char_indices().peekable();
    while let Some((at, next)) = rest.next() {
        if next == '\n' {
            line += 1;
        } else if next.is_alphanumeric() || next == '_' {
            let mut end = at + next.len_utf8();
            while let Some((at, more)) = rest.next_if(|(_, more)| more.is_alphanumeric() || *more == '_') {
                end = at + more.len_utf8();
            }
            found.push((line, code[at..end].to_owned()));
        } else if next == ':' && rest.next_if(|(_, second)| *second == ':').is_some() {
            found.push((line, "::".to_owned()));
        } else if !next.is_whitespace() {
            found.push((line, next.to_string()));
        }
    }
    found
}

/// One tree of a `use`, below `prefix`; gives the position after it.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |(line, _)| *line);
    while let Some((_, token)) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| token != "}") {
                    at = use_tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|(_, token)| token == "," || token == ";"));
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => at += 2,
            "::" => at += 1,
            "self" if !path.is_empty() => at += 1,
            word => {
                path.push(word.to_owned());
                at += 1;
            }
        }
    }
    if !path.is_empty() {
        found.push(Named { line, segments: path });
    }
    at
}

fn inline_path(tokens: &[Token], mut at: usize, found: &mut Vec<Named>) -> usize {
    let mut named = Named { line: tokens[at].0, segments: vec![tokens[at].1.clone()] };
    at += 1;
    while at + 1 < tokens.len() && tokens[at].1 == "::" && is_word(&tokens[at + 1].1) {
        named.segments.push(tokens[at + 1].1.clone());
        at += 2;
    }
    if named.segments.len() > 1 {
        found.push(named);
    }
    at
}

/// The position of the brace that ends the body of the function at `at`; a declaration without a body has none.
fn body_end(tokens: &[Token], at: usize) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (position, (_, token)) in tokens.iter().enumerate().skip(at) {
        match token.as_str() {
            "(" | "[" => others += 1,
            ")" | "]" => others -= 1,
            ";" if braces == 0 && others == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 {
                    return Some(position);
                }
            }
            _ => {}
        }
    }
    None
}

fn blank(code: &str) -> String {
    code.chars().map(|each| if each == '\n' { '\n' } else { ' ' }).collect()
}

fn blank_comments_and_literals(text: &str) -> String {
    let all: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < all.len() {
        let after_word = at > 0 && (all[at - 1].is_alphanumeric() || all[at - 1] == '_');
        let end = match all[at] {
            '/' if all.get(at + 1) == Some(&'/') => line_end(&all, at),
            '/' if all.get(at + 1) == Some(&'*') => block_comment_end(&all, at),
            '"' => string_end(&all, at),
            'r' | 'b' | 'c' if !after_word => prefixed_string_end(&all, at).unwrap_or(at),
            '\'' => character_end(&all, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(all[at]);
            at += 1;
            continue;
        }
        // A literal keeps its place as one: `.expect("why")` is no `.expect()`.
        let literal = all[at] != '/';
        for (position, each) in all[at..end].iter().enumerate() {
            let edge = position == 0 || at + position + 1 == end;
            out.push(if *each == '\n' {
                '\n'
            } else if literal && edge {
                '"'
            } else {
                ' '
            });
        }
        at = end;
    }
    out
}

fn line_end(all: &[char], at: usize) -> usize {
    all[at..].iter().position(|each| *each == '\n').map_or(all.len(), |length| at + length)
}

fn block_comment_end(all: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < all.len() {
        match (all[at], all.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(all: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < all.len() && all[at] != '"' {
        at += if all[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(all.len())
}

/// `b"…"`, `c"…"`, `r"…"`, `br#"…"#` and `b'…'`; a word that merely starts with such a letter is none.
fn prefixed_string_end(all: &[char], at: usize) -> Option<usize> {
    let mut quote = at + 1;
    let mut raw = all[at] == 'r';
    if !raw && all.get(quote) == Some(&'r') {
        (raw, quote) = (true, quote + 1);
    }
    if !raw {
        return match all.get(quote)? {
            '"' => Some(string_end(all, quote)),
            '\'' => character_end(all, quote),
            _ => None,
        };
    }
    let hashes = all[quote..].iter().take_while(|each| **each == '#').count();
    quote += hashes;
    if all.get(quote) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| {
        all[*at] == '"' && all[at + 1..].iter().take(hashes).filter(|each| **each == '#').count() == hashes
    };
    Some((quote + 1..all.len()).find(closes).map_or(all.len(), |end| end + 1 + hashes))
}

/// The end of a character literal; `None` when the quote opens a lifetime or a label.
fn character_end(all: &[char], at: usize) -> Option<usize> {
    if all.get(at + 1) == Some(&'\\') {
        let close = all[at + 3..].iter().position(|each| *each == '\'')?;
        return Some(at + 3 + close + 1);
    }
    (all.get(at + 2) == Some(&'\'')).then_some(at + 3)
}

/// Blanks every item under `#[test]` or a `cfg` that tests switch on, and names the modules that such items declare.
fn blank_tests(code: &str) -> (String, Vec<String>) {
    let mut out: Vec<char> = code.chars().collect();
    let mut declared = Vec::new();
    let mut at = 0;
    while at + 1 < out.len() {
        if out[at] != '#' || out[at + 1] != '[' {
            at += 1;
            continue;
        }
        let attribute_end = bracket_end(&out, at + 1);
        let attribute: String = out[at..attribute_end].iter().filter(|each| !each.is_whitespace()).collect();
        if !tests_only(&attribute) {
            at = attribute_end;
            continue;
        }
        let end = item_end(&out, attribute_end);
        let item: String = out[attribute_end..end].iter().collect();
        let words: Vec<String> = Source::words(&item).into_iter().map(|(_, word)| word).collect();
        if let Some(name) = words.iter().skip_while(|word| *word != "mod").nth(1).filter(|_| item.ends_with(';')) {
            declared.push(name.clone());
        }
        out[at..end].iter_mut().filter(|each| **each != '\n').for_each(|each| *each = ' ');
        at = end;
    }
    (out.into_iter().collect(), declared)
}

/// `#[cfg(not(test))]` ships; `#[cfg(test)]`, `#[cfg(any(test, fuzzing))]` and `#[test]` do not.
fn tests_only(attribute: &str) -> bool {
    let forms =
        ["#[test]", "#[cfg(test)]", "#[cfg(all(test,", "#[cfg(any(test,fuzzing))]", "#[cfg(any(fuzzing,test))]"];
    forms.iter().any(|form| attribute.starts_with(form))
}

fn bracket_end(all: &[char], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, each) in all.iter().enumerate().skip(open) {
        match each {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    all.len()
}

/// The end of the item that starts at `at`: its semicolon, or the brace that closes its body.
fn item_end(all: &[char], mut at: usize) -> usize {
    while at < all.len() {
        match all[at] {
            ';' => return at + 1,
            '{' => return bracket_end(all, at),
            '(' | '[' => at = bracket_end(all, at),
            _ => at += 1,
        }
    }
    at
}
