//! Whether a weakness that `isolate lint` tells of is one: with it an attacker gains what he does not without.

use super::bundle::Bundle;
use super::child;
use super::container::Container;

/// What `lint` says of the container's bundle, as (rule, place).
#[track_caller]
pub fn found(container: &Container) -> Vec<(String, String)> {
    let mut command = container.command(&["lint", "--json", "--bundle"]);
    let output = child::run(command.arg(&container.bundle.folder));
    assert!(output.code == 0 || output.code == 3, "{output}");
    let json = output.json();
    let text = |finding: &serde_json::Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let findings = json.as_array().unwrap();
    findings.iter().map(|finding| (text(finding, "rule"), text(finding, "at"))).collect()
}

/// Shows a rule: of the `sound` bundle nothing is said, and nothing is gained; of the same one weakened `lint` says it
/// at `at`, and it is. `attack` tells what happened, with the word `gained` when it worked.
#[track_caller]
pub fn shows(
    rule: &str,
    at: &str,
    sound: impl Fn() -> Bundle,
    weaken: impl Fn(Bundle) -> Bundle,
    attack: impl Fn(&Container) -> String,
) {
    let finding = (rule.to_owned(), at.to_owned());
    let container = sound().container();
    let findings = found(&container);
    assert!(!findings.contains(&finding), "{rule} is said of the sound one");
    let seen = attack(&container);
    assert!(!seen.contains("gained"), "{rule}: it is gained without the weakness too: {seen}");
    drop(container);
    let container = weaken(sound()).container();
    let findings = found(&container);
    assert!(findings.contains(&finding), "{rule} at {at} is not said: {findings:?}");
    let seen = attack(&container);
    assert!(seen.contains("gained"), "{rule}: nothing is gained: {seen}");
}

/// The attack that is the container's own program.
pub fn run(container: &Container) -> String {
    container.run(&[]).to_string()
}
