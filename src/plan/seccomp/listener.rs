//! `SCMP_ACT_NOTIFY`: who hears of the calls, and how the descriptor gets there. Pure.
//!
//! The kernel gives the descriptor to the thread that loads the filter, and from then on any call of that
//! thread may wait for somebody who reads from it. So the runtime fetches it from the child
//! (pidfd_getfd(2)), which needs no call of the child's; only where the runtime may not, the child sends it,
//! and then `sendmsg` cannot be one of the calls that wait. The filter is loaded by `create`, as runc does
//! it: whoever listens sees the last steps of the runtime itself.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::{Plan, Stage, Step, Token};

/// How the descriptor gets from the child to the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handover {
    /// The runtime takes it.
    Taken,
    /// The child sends it.
    Passed,
}

/// Where the descriptor goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// A stream socket, in the runtime's mount namespace.
    pub path: PathBuf,
    /// Passed on as it is.
    pub metadata: Option<String>,
    /// How it gets to the runtime.
    pub handover: Handover,
}

/// Whether any call waits for a listener.
pub fn notifies(config: &LinuxSeccomp) -> bool {
    let rules = config.syscalls().iter().flatten();
    let mut actions = rules.map(|rule| rule.action()).chain([config.default_action()]);
    actions.any(|action| action == LinuxSeccompAction::ScmpActNotify)
}

/// The listener that the config asks for; `receiver` is what crun's annotation says.
///
/// # Errors
/// When there is none, or its calls could not be told of.
pub fn read(config: &LinuxSeccomp, receiver: Option<&str>, host: &Host) -> Result<Option<Listener>> {
    if !notifies(config) {
        return Ok(None);
    }
    let named = config.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
    let path = named.or_else(|| receiver.filter(|path| !path.is_empty()).map(PathBuf::from));
    let missing = || Error::new("SCMP_ACT_NOTIFY needs a listener").at("linux.seccomp.listenerPath");
    let path = path.ok_or_else(missing)?;
    let handover = if host.privileged { Handover::Taken } else { Handover::Passed };
    if handover == Handover::Passed && waits_to_send(config) {
        return Err(Error::new("SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall by an ordinary user")
            .at("linux.seccomp")
            .hint("the runtime sends the listener's descriptor by it; allow sendmsg, or run as root"));
    }
    Ok(Some(Listener { path, metadata: config.listener_metadata().clone(), handover }))
}

fn waits_to_send(config: &LinuxSeccomp) -> bool {
    let notify = LinuxSeccompAction::ScmpActNotify;
    let mut rules =
        config.syscalls().iter().flatten().filter(|rule| rule.names().iter().any(|name| name == "sendmsg"));
    match config.default_action() == notify {
        true => !rules.any(|rule| rule.action() != notify && rule.args().as_ref().is_none_or(Vec::is_empty)),
        false => rules.any(|rule| rule.action() == notify),
    }
}

/// The runtime's part: it hands the descriptor on before it takes the child for ready.
pub fn plan_beside(plan: &mut Plan, listener: &Listener, why: &str) {
    let ready = Step::Await { token: Token::Ready };
    let at = plan.steps.iter().position(|planned| planned.stage == Stage::Beside && planned.step == ready);
    let mut steps = Plan::default();
    steps.push(Stage::Beside, why, Step::SendListener(listener.clone()));
    steps.push(Stage::Beside, "default", Step::Tell { token: Token::Listened });
    let at = at.unwrap_or(plan.steps.len());
    plan.steps.splice(at..at, steps.steps);
}
