//! Whose a task is.

use super::super::tasks::Tasks;
use super::*;

#[test]
fn a_task_is_asked_about_by_the_agent_that_has_made_it() {
    let mut talk = talk(&format!("{SERVERS}- allow: all\n  mcp: {{ server: files }}\n"));
    let get = |id: &str, task: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tasks/get","params":{{"taskId":"{task}"}}}}"#)
    };
    assert_eq!(talk.client(&call("1", "slow", "{}")), Ok(()));
    talk.server(r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"of-the-coder"}}}"#);
    assert_eq!(talk.client(&get("2", "of-the-coder")), Ok(()));
    Tasks::all().begin("files", "of-somebody-else", "somebody", None);
    let told = talk.client(&get("3", "of-somebody-else")).unwrap_err();
    assert!(told.contains("task_foreign") && told.contains("-31403"), "{told}");
    // What a task says of another does not make it its own.
    talk.server(r#"{"jsonrpc":"2.0","id":2,"result":{"taskId":"of-nobody"}}"#);
    Tasks::all().begin("files", "of-nobody", "somebody", None);
    assert!(talk.client(&get("4", "of-nobody")).is_err());
}

#[test]
fn a_list_of_tasks_shows_an_agent_no_other_ones() {
    let mut talk = talk(&format!("{SERVERS}- allow: all\n  mcp: {{ server: files }}\n"));
    Tasks::all().begin("files", "listed-of-another", "somebody", None);
    Tasks::all().begin("files", "listed-of-the-coder", "coder", None);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/list"}"#;
    assert_eq!(talk.client(list), Ok(()));
    let (told, _) = talk.server(
        r#"{"jsonrpc":"2.0","id":1,"result":{"tasks":[{"taskId":"listed-of-another"},{"taskId":"listed-of-the-coder"},{"taskId":"listed-of-nobody"},{"status":"working"}]}}"#,
    );
    let shown = r#"{"jsonrpc":"2.0","id":1,"result":{"tasks":[{"taskId":"listed-of-the-coder"},{"taskId":"listed-of-nobody"}]}}"#;
    assert_eq!(told, shown);
    assert!(talk.records().contains(&"tasks/list  deny task_foreign".to_owned()));
}

#[test]
fn an_agent_is_told_of_no_other_ones_tasks() {
    let mut talk = talk(&format!("{SERVERS}- allow: all\n  mcp: {{ server: files }}\n"));
    Tasks::all().begin("files", "told-of-another", "somebody", None);
    let listen = |id: &str, tasks: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"notifications":{{"taskIds":[{tasks}]}}}}}}"#
        )
    };
    assert_eq!(talk.client(&listen("1", r#""told-of-nobody""#)), Ok(()));
    let told = talk.client(&listen("2", r#""told-of-nobody","told-of-another""#)).unwrap_err();
    assert!(told.contains("task_foreign"), "{told}");
    for method in ["notifications/tasks", "notifications/tasks/status"] {
        let about = |task: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"taskId":"{task}"}}}}"#);
        assert_eq!(talk.server(&about("told-of-another")).0, "");
        assert_eq!(talk.server(&about("told-of-nobody")).0, about("told-of-nobody"));
    }
}
