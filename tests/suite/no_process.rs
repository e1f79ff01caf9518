//! A config without a process: a container can be made of it, and not started.

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    a_container_without_a_process_is_created needs [Need::Isolate],
    a_process_of_null_is_none needs [Need::Isolate],
    start_without_a_process_is_an_error_and_changes_nothing needs [Need::Isolate],
    run_without_a_process_is_an_error needs [Need::Isolate],
    exec_into_a_container_without_a_process_works needs [Need::Isolate],
    the_init_without_a_process_has_no_rights needs [Need::Isolate],
];

fn without() -> Bundle {
    Bundle::nothing().unset("/process")
}

fn a_container_without_a_process_is_created() {
    let container = without().create();
    assert_eq!(container.status(), "created");
    container.delete().ok();
    container.leaves_nothing();
}

fn a_process_of_null_is_none() {
    let container = Bundle::nothing().set("/process", Value::Null).create();
    assert_eq!(container.status(), "created");
}

fn start_without_a_process_is_an_error_and_changes_nothing() {
    let container = without().create();
    for _ in 0..2 {
        container.start().fails(1, &["process: the config has no process, so there is nothing to start"]);
        assert_eq!(container.status(), "created");
    }
}

fn run_without_a_process_is_an_error() {
    let container = without().container();
    container.run(&[]).fails(1, &["process: there is none, so there is nothing to run"]);
    container.leaves_nothing();
}

fn exec_into_a_container_without_a_process_works() {
    let container = without().create();
    let file = container.bundle.folder.join("process.json");
    let process = json!({"args": ["/bin/echo", "inside"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    std::fs::write(&file, process.to_string()).unwrap();
    let output = container.runtime(&["exec", "--process", &file.display().to_string(), container.id()]);
    assert_eq!(output.ok().text(), "inside");
    container.exec(&["true"]).fails(255, &["the config has no process"]);
}

fn the_init_without_a_process_has_no_rights() {
    let container = without().create();
    for set in ["CapBnd", "CapInh", "CapAmb"] {
        assert_eq!(process::status(container.pid(), set).as_deref(), Some("0000000000000000"), "{set}");
    }
}
