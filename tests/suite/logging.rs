//! `--log`: what engines parse when something fails, and the silence when nothing does.

use std::fs;

use serde_json::Value;

use crate::support::need::Need;
use crate::support::*;
use crate::tests;

tests![
    a_failure_writes_exactly_one_json_object,
    the_record_says_what_standard_error_says,
    success_writes_nothing,
    debug_writes_no_error_records_on_success,
    records_are_appended,
    a_text_log_has_level_and_message,
    a_failed_exec_is_recorded_too,
    a_log_that_cannot_be_opened_is_an_error,
    a_log_daemon_that_is_not_there_is_an_error,
    the_journal_and_syslog_get_the_error
        needs [Need::Root, Need::Not("runc", "1.1 logs to files only"), Need::Not("crun", "words its records otherwise")],
    an_unknown_log_format_is_refused,
    the_log_file_is_not_world_writable,
];

struct Logged {
    output: Output,
    records: Vec<Value>,
}

/// Runs a command with a JSON log.
fn logged(container: &Container, options: &[&str], arguments: &[&str]) -> Logged {
    let file = container.bundle.folder.join("log.json");
    let mut command = session().command(&container.bundle.root);
    command.arg("--log").arg(&file).args(["--log-format", "json"]).args(options).args(arguments);
    let output = child::run(&mut command);
    let text = fs::read_to_string(&file).unwrap_or_default();
    let records = serde_json::Deserializer::from_str(&text).into_iter().map(Result::unwrap).collect();
    Logged { output, records }
}

fn folder(container: &Container) -> &str {
    container.bundle.folder.to_str().unwrap()
}

fn failing_create(container: &Container, options: &[&str]) -> Logged {
    logged(container, options, &["create", "--bundle", folder(container), container.id()])
}

fn a_failure_writes_exactly_one_json_object() {
    let container = Bundle::new(&["nonesuch"]).container();
    let logged = failing_create(&container, &[]);
    assert_eq!((logged.output.code, logged.records.len()), (1, 1), "{:?}", logged.records);
    let record = &logged.records[0];
    assert_eq!(record["level"], "error");
    assert!(record["msg"].as_str().unwrap().contains("executable file not found in $PATH"), "{record}");
    let time = record["time"].as_str().unwrap();
    let parsed = child::run(std::process::Command::new("date").args(["-d", time]));
    assert!(parsed.code == 0 && time.contains('T'), "{time}");
}

fn the_record_says_what_standard_error_says() {
    let container = Bundle::new(&["nonesuch"]).container();
    let logged = failing_create(&container, &[]);
    let message = logged.records[0]["msg"].as_str().unwrap();
    let first = message.lines().next().unwrap();
    assert!(logged.output.stderr.replace('\\', "").contains(&first.replace('\\', "")), "{}", logged.output);
}

fn success_writes_nothing() {
    let container = Bundle::sleeper().container();
    let logged = failing_create(&container, &[]);
    assert!(logged.output.code == 0 && logged.records.is_empty(), "{:?}", logged.records);
    assert_eq!(logged.output.stderr, "");
}

fn debug_writes_no_error_records_on_success() {
    let container = Bundle::sleeper().container();
    let logged = failing_create(&container, &["--debug"]);
    assert_eq!(logged.output.code, 0);
    assert!(!logged.records.is_empty(), "something is told");
    for record in &logged.records {
        assert!(record["level"] != "error" && record["msg"].is_string(), "{record}");
    }
}

fn records_are_appended() {
    let container = Bundle::new(&["nonesuch"]).container();
    failing_create(&container, &[]);
    assert_eq!(failing_create(&container, &[]).records.len(), 2);
}

fn a_text_log_has_level_and_message() {
    let container = Bundle::new(&["nonesuch"]).container();
    let file = container.bundle.folder.join("log.txt");
    let mut command = session().command(&container.bundle.root);
    let log = format!("--log={}", file.display());
    command.args([&log, "--log-format=text", "create", "--bundle", folder(&container), container.id()]);
    child::run(&mut command).fails(1, &[]);
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains("level=error") && text.contains("msg=") && text.lines().count() == 1, "{text}");
}

fn a_failed_exec_is_recorded_too() {
    let container = Bundle::sleeper().start();
    let logged = logged(&container, &[], &["exec", container.id(), "nonesuch"]);
    assert_eq!((logged.output.code, logged.records.len()), (255, 1), "{:?}", logged.records);
    assert_eq!(logged.records[0]["level"], "error");
}

fn a_log_that_cannot_be_opened_is_an_error() {
    let output = bundle::runtime(&["--log", "/nonesuch/log", "list"]);
    assert!(output.code == 1 && output.stderr.contains("/nonesuch/log"), "{output}");
}

fn a_log_daemon_that_is_not_there_is_an_error() {
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        skip("systemd's journal listens here");
    }
    let output = bundle::runtime(&["--log", "journald:web1", "list"]);
    output.fails(1, &["cannot open the log", "/run/systemd/journal/socket", "no log daemon listens there"]);
}

/// The daemons' places are the host's; in a mount namespace of its own the runtime finds ours there.
fn the_journal_and_syslog_get_the_error() {
    for (place, option, words) in [
        ("/run/systemd/journal/socket", "journald:web1", "PRIORITY=3\nSYSLOG_IDENTIFIER=web1\n"),
        ("/dev/log", "syslog:web1", "<11>web1["),
    ] {
        let bundle = Bundle::nothing();
        let socket = bundle.folder.join("socket");
        let listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
        listener.set_read_timeout(Some(std::time::Duration::from_secs(5) * child::patience())).unwrap();
        let script = r#"mount -t tmpfs tmpfs "/$(echo "$1" | cut -d/ -f2)" && mkdir -p "${1%/*}" && ln -s "$2" "$1" &&
            shift 2 && exec "$@""#;
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", place]);
        command.arg(&socket).arg(&session().runtime).arg("--root").arg(&bundle.root);
        child::run(command.args(["--log", option, "state", "x"])).fails(1, &["container does not exist"]);
        let mut buffer = [0; 4096];
        let length = listener.recv(&mut buffer).unwrap();
        let record = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(record.starts_with(words) && record.contains("container does not exist"), "{record}");
    }
}

fn an_unknown_log_format_is_refused() {
    assert!(bundle::runtime(&["--log-format", "xml", "list"]).code != 0);
}

fn the_log_file_is_not_world_writable() {
    use std::os::unix::fs::PermissionsExt;
    let container = Bundle::new(&["nonesuch"]).container();
    failing_create(&container, &[]);
    let mode = fs::metadata(container.bundle.folder.join("log.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o022, 0, "{mode:o}");
}
