//! Claims about asking: each against a real command, or a server on loopback.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::policy::{self, Source};

/// A policy that declares the approver `ann`.
fn approvers(ann: &str) -> Approvers {
    let text = format!("ringfence: v1\napprovals: {{ ann: {ann} }}\nrules: []\n");
    let loaded = policy::load(Source { name: "p", text: &text });
    let policy = loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    Approvers::read(&policy, Path::new(""), None).unwrap()
}

/// An approver that is a shell script.
fn script(body: &str, timeout: &str) -> (tempfile::TempDir, Approvers) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("approve");
    fs::write(&path, format!("#!/bin/sh\ncd {}\n{body}\n", folder.path().display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let all = approvers(&format!("{{ command: [{}, 'a word; rm x'], timeout: {timeout} }}", path.display()));
    (folder, all)
}

fn question() -> Question {
    let action = br#"{"arguments":{"path":"$(id)"},"method":"tools/call","server":"s","tool":"push"}"#.to_vec();
    let digest = json::digest(&action).unwrap();
    Question { approver: "ann".into(), rule: "push".into(), reason: Some("Why.".into()), action, digest }
}

fn ask(approvers: &Approvers, agent: &str) -> (Result<Asked, Answer>, Receiver<Answer>) {
    let (tell, told) = channel();
    let asked = approvers.ask(&question(), agent, move |answer| tell.send(answer).unwrap());
    (asked, told)
}

fn answer_of(approvers: &Approvers, agent: &str) -> Answer {
    let (asked, told) = ask(approvers, agent);
    let _asked = asked.unwrap();
    told.recv_timeout(Duration::from_secs(30)).unwrap()
}

const ECHO: &str = r#"read -r q; id=${q#*'"approval_request_id":"'}; id=${id%%'"'*}; digest=${q#*'"action_digest":"'}; digest=${digest%%'"'*};"#;

#[test]
fn the_exit_status_of_a_command_is_its_answer() {
    for (n, (body, answer)) in [
        ("exit 0", Answer::Approved),
        ("cat > /dev/null", Answer::Approved),
        ("exit 1", Answer::Denied),
        ("echo no; exit 1", Answer::Denied),
        ("exit 2", Answer::Unavailable),
        ("kill -9 $$", Answer::Unavailable),
        ("echo yes", Answer::Unavailable),
        ("head -c 100000 /dev/zero", Answer::Unavailable),
    ]
    .into_iter()
    .enumerate()
    {
        let (_folder, approvers) = script(body, "30s");
        assert_eq!(answer_of(&approvers, &format!("status {n}")), answer, "{body}");
    }
}

#[test]
fn what_a_command_prints_counts_where_it_repeats_the_question() {
    let print = |id: &str, digest: &str, decision: &str| {
        format!(
            r#"{ECHO} printf '{{"approval_request_id":"%s","action_digest":"%s","decision":"{decision}"}}' "{id}" "{digest}""#
        )
    };
    for (body, answer) in [
        (print("$id", "$digest", "approve"), Answer::Approved),
        (print("$id", "$digest", "deny"), Answer::Denied),
        (print("$id", "$digest", "yes"), Answer::Unavailable),
        (print("$id", "sha256:00", "approve"), Answer::Unavailable),
        (print("00", "$digest", "approve"), Answer::Unavailable),
    ] {
        let (_folder, approvers) = script(&body, "30s");
        assert_eq!(answer_of(&approvers, "printer"), answer, "{body}");
    }
}

#[test]
fn a_command_knows_the_question_and_nothing_else() {
    let (folder, approvers) =
        script("cat > question; env | sort > env; printf '%s\\n' \"$@\" > words; ls /proc/self/fd > fds", "30s");
    assert_eq!(answer_of(&approvers, "knows"), Answer::Approved);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("words"), "a word; rm x\n", "its words are the policy's, and no shell reads them");
    assert_eq!(read("fds"), "0\n1\n2\n3\n", "three, and that of the folder that is listed");
    let names: Vec<String> = read("env").lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
    // The shell itself adds some.
    let known = ["HOME", "PATH", "OLDPWD", "PWD", "SHLVL", "_"];
    assert!(names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");
    let asked: serde_json::Value = serde_json::from_str(&read("question")).unwrap();
    let digest = format!("sha256:{}", hex(&question().digest));
    assert_eq!(asked["action_digest"], *digest);
    assert_eq!(asked["action"]["arguments"]["path"], "$(id)");
    assert_eq!((&asked["agent"], &asked["rule"], &asked["reason"]), (&"knows".into(), &"push".into(), &"Why.".into()));
    assert_eq!(asked["approval_request_id"].as_str().map(str::len), Some(32));
    assert!(asked["expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() > jiff::Timestamp::now());
    // The digest can be had by anyone from the action as it stands there.
    let text = read("question");
    let action = &text[text.find("\"action\":").unwrap() + 9..text.len() - 2];
    assert_eq!(json::digest(action.as_bytes()).unwrap(), question().digest);
}

#[test]
fn no_answer_in_time_is_no_and_ends_the_command_with_all_that_it_started() {
    let (folder, approvers) = script("sleep 1000 & echo $! > child; wait", "1s");
    assert_eq!(answer_of(&approvers, "late"), Answer::TimedOut);
    let child = fs::read_to_string(folder.path().join("child")).unwrap();
    // The end of a process that nobody waits for shows a moment later.
    wait_until(|| !is_alive(child.trim()));
}

#[test]
fn a_question_that_is_withdrawn_ends_its_command_and_is_never_answered() {
    let (folder, approvers) = script("echo $$ > own; exec sleep 1000", "60s");
    let (asked, told) = ask(&approvers, "withdrawn");
    wait_until(|| fs::read_to_string(folder.path().join("own")).is_ok_and(|own| own.ends_with('\n')));
    let own = fs::read_to_string(folder.path().join("own")).unwrap();
    drop(asked);
    assert!(told.recv_timeout(Duration::from_secs(30)).is_err(), "nobody is told");
    wait_until(|| !is_alive(own.trim()));
}

#[test]
fn an_agent_has_a_bounded_number_of_open_questions_and_gets_them_back() {
    let (_folder, approvers) = script("exec sleep 1000", "60s");
    let mut open: Vec<_> = (0..APPROVALS_PER_AGENT_MAX).map(|_| ask(&approvers, "flood")).collect();
    assert!(open.iter().all(|(asked, _)| asked.is_ok()));
    assert_eq!(ask(&approvers, "flood").0.err(), Some(Answer::Unavailable));
    let (_other, quick) = script("exit 0", "30s");
    assert_eq!(answer_of(&quick, "not the flood"), Answer::Approved, "another agent has its own");
    open.clear();
    wait_until(|| ask(&approvers, "flood").0.is_ok());
}

#[test]
fn an_approver_that_cannot_be_asked_is_refused_before_anything_starts() {
    let text = "ringfence: v1\napprovals: { ann: { command: [/nowhere/approve] } }\nrules: []\n";
    let policy = policy::load(Source { name: "p", text }).policy.unwrap();
    let error = Approvers::read(&policy, Path::new(""), None).err().unwrap();
    assert_eq!(error.to_string(), "/nowhere/approve: is no program that can be run");
    assert_eq!(ask(&Approvers::default(), "nobody").0.err(), Some(Answer::Unavailable));
}

type Respond = fn(&str, &str) -> Option<String>;

/// A server that answers one question with what `respond` makes of its id and digest.
fn webhook(timeout: &str, respond: Respond) -> Approvers {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let text = |key: &str| asked[key].as_str().unwrap().to_owned();
        match respond(&text("approval_request_id"), &text("action_digest")) {
            Some(response) => (&stream).write_all(response.as_bytes()).unwrap(),
            // Until the other side gives up.
            None => assert_eq!(reader.read(&mut [0]).unwrap_or(0), 0),
        }
    });
    approvers(&format!("{{ webhook: \"http://{address}/asked?by=ringfence\", timeout: {timeout} }}"))
}

fn said(id: &str, digest: &str, decision: &str) -> String {
    format!(r#"{{"approval_request_id":"{id}","action_digest":"{digest}","decision":"{decision}"}}"#)
}

#[test]
fn a_webhook_answers_with_what_it_was_asked() {
    let cases: [(Respond, Answer); 8] = [
        (|id, digest| length(&said(id, digest, "approve")), Answer::Approved),
        (|id, digest| length(&said(id, digest, "deny")), Answer::Denied),
        (
            |id, digest| Some(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", said(id, digest, "approve"))),
            Answer::Approved,
        ),
        (
            |id, digest| {
                let said = said(id, digest, "approve");
                Some(format!(
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{said}\r\n0\r\n\r\n",
                    said.len()
                ))
            },
            Answer::Approved,
        ),
        (|id, _| length(&said(id, "sha256:00", "approve")), Answer::Unavailable),
        (|_, digest| length(&said("another", digest, "approve")), Answer::Unavailable),
        (
            |id, digest| length(&said(id, digest, "approve")).map(|text| text.replace("200 OK", "500 Oh")),
            Answer::Unavailable,
        ),
        (
            |id, digest| length(&said(id, digest, "approve")).map(|text| text[..text.len() - 1].to_owned()),
            Answer::Unavailable,
        ),
    ];
    for (n, (respond, answer)) in cases.into_iter().enumerate() {
        assert_eq!(answer_of(&webhook("30s", respond), "hook"), answer, "{n}");
    }
}

fn length(body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn a_webhook_that_says_nothing_in_time_or_is_not_there_approves_nothing() {
    assert_eq!(answer_of(&webhook("1s", |_, _| None), "silent"), Answer::TimedOut);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = approvers(&format!("{{ webhook: \"http://{free}/\", timeout: 30s }}"));
    assert_eq!(answer_of(&gone, "absent"), Answer::Unavailable);
}

/// Whether a process runs, one that has ended and is not waited for yet apart.
fn is_alive(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not come to be");
        std::thread::yield_now();
    }
}
