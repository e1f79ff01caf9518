//! systemd's side of a cgroup: a unit for each container, started, changed and stopped over D-Bus. The runtime
//! process, with the caller's privilege, for the commands that have to: a start is one transaction, and later commands
//! ask systemd only if there is something to change.
//!
//! `zvariant` lays the messages out. `zbus` is not used: its connections start a thread, and the process that clones
//! the container must have one alone.

mod connection;
mod message;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zvariant::{OwnedObjectPath, Value};

use self::connection::{CallError, Connection};
use self::message::Method;
use super::unit::{Bus, Manager, Property, PropertyValue, SavedUnit, Unit};
use crate::error::{Error, Result};

/// How long a job may take (runc's bound).
const JOB: Duration = Duration::from_secs(30);

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: Method<'_> = Method {
    destination: SERVICE,
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
};

type Properties<'a> = Vec<(&'a str, Value<'a>)>;

fn of_manager(member: &str) -> Method<'_> {
    Method { member, ..MANAGER }
}

/// Finds the service manager that the caller may ask for units: process 1's for root, else the caller's own.
///
/// # Errors
/// When there is none, or it does not answer.
pub fn find(bus: Bus) -> Result<Manager> {
    let control_group = match bus {
        // Process 1 is at the top; in a container of another's, the mount shows its part as the top.
        Bus::System => PathBuf::from("/"),
        Bus::User => {
            let mut connection = Connection::open(bus)?;
            let method = Method { interface: "org.freedesktop.DBus.Properties", member: "Get", ..MANAGER };
            let answer = connection.call(method, &(MANAGER.interface, "ControlGroup"));
            let answer = answer.map_err(|error| error.into_error("Get(ControlGroup)"))?;
            let (value,): (Value<'_>,) = answer.body()?;
            let path: String =
                value.try_into().map_err(|error| Error::new(format!("ControlGroup: {error}")))?;
            PathBuf::from(path)
        }
    };
    Ok(Manager { bus, control_group })
}

/// Starts a unit, for a scope with the process `pid` in it, and waits until it stands.
///
/// # Errors
/// When a unit of that name is active, systemd refuses a property, or does not finish in time.
pub fn start(unit: &Unit, pid: Option<i32>) -> Result<()> {
    let mut connection = Connection::open(unit.bus)?;
    let mut left_out: Vec<&str> = Vec::new();
    let mut was_reset = false;
    // A property that systemd does not know is left out if a file of the cgroup has its value too: once for each.
    for _ in 0..=unit.properties.len() {
        let properties: Vec<&Property> =
            unit.properties.iter().filter(|property| !left_out.contains(&property.name.as_str())).collect();
        match start_once(&mut connection, unit, &properties, pid) {
            Ok(()) => return Ok(()),
            Err(CallError::Refused(name, _)) if name.ends_with(".UnitExists") && !was_reset => {
                // One that failed is in the way until it is reset; one that is active stays.
                was_reset = true;
                let _ = connection.call(of_manager("ResetFailedUnit"), &(unit.name.as_str(),));
            }
            Err(CallError::Refused(name, text)) => match unknown_property(&properties, &text) {
                Some(property) => left_out.push(&property.name),
                None => return Err(refused(unit, &properties, &name, &text)),
            },
            Err(CallError::Failed(error)) => {
                // It may come to be all the same, later.
                let _ = stop(&unit.save());
                return Err(error);
            }
        }
    }
    Err(Error::new(format!("systemd does not start {}", unit.name)))
}

fn refused(unit: &Unit, properties: &[&Property], name: &str, text: &str) -> Error {
    if name.ends_with(".UnitExists") {
        return Error::new(format!("systemd has an active unit {} already", unit.name))
            .at("linux.cgroupsPath")
            .hint("choose another name, or stop it with 'systemctl stop'");
    }
    let error = Error::new(format!("systemd refuses to start {}: {name}: {text}", unit.name));
    match properties.iter().find(|property| text.contains(&property.name)) {
        Some(property) => error.at(&property.why),
        None => error,
    }
}

/// The property that the text says is not known, if it may be left out.
fn unknown_property<'a>(properties: &[&'a Property], text: &str) -> Option<&'a Property> {
    let names = |property: &&&Property| property.is_mirrored && text.contains(&property.name);
    properties.iter().find(names).copied()
}

fn start_once(
    connection: &mut Connection,
    unit: &Unit,
    properties: &[&Property],
    pid: Option<i32>,
) -> Result<(), CallError> {
    let mut all: Properties<'_> =
        properties.iter().map(|property| (property.name.as_str(), value(&property.value))).collect();
    if let Some(pid) = pid.filter(|_| unit.is_scope()) {
        all.push(("PIDs", Value::from(vec![pid.unsigned_abs()])));
    }
    watch_jobs(connection, &unit.name)?;
    let auxiliary: Vec<(&str, Properties<'_>)> = Vec::new();
    let body = (unit.name.as_str(), "replace", all, auxiliary);
    let answer = connection.call(of_manager("StartTransientUnit"), &body)?;
    let (job,): (OwnedObjectPath,) = answer.body()?;
    Ok(wait_for_job(connection, job.as_str(), &unit.name, "start")?)
}

/// Signals of jobs of this unit alone: a busy machine has many.
fn watch_jobs(connection: &mut Connection, unit: &str) -> Result<()> {
    connection.subscribe(&format!(
        "type='signal',sender='{SERVICE}',interface='{}',member='JobRemoved',arg2='{unit}'",
        MANAGER.interface
    ))
}

fn wait_for_job(connection: &mut Connection, job: &str, unit: &str, verb: &str) -> Result<()> {
    let deadline = Instant::now() + JOB;
    let what = format!("to {verb} {unit} ({} s)", JOB.as_secs());
    loop {
        let signal = connection.signal(deadline, &what)?;
        if signal.member.as_deref() != Some("JobRemoved") {
            continue;
        }
        let (_, path, _, result): (u32, OwnedObjectPath, String, String) = signal.body()?;
        match (path.as_str() == job, result.as_str()) {
            (false, _) => {}
            (true, "done" | "skipped") => return Ok(()),
            (true, result) => {
                return Err(Error::new(format!(
                    "systemd could not {verb} {unit}: the job ended as {result:?}"
                ))
                .hint(format!("'systemctl status {unit}' may say more")));
            }
        }
    }
}

/// Changes properties of a unit that stands, for as long as it does.
///
/// # Errors
/// When systemd refuses, or does not answer in time.
pub fn set(unit: &Unit) -> Result<()> {
    let mut connection = Connection::open(unit.bus)?;
    let mut properties: Vec<&Property> = unit.properties.iter().collect();
    while !properties.is_empty() {
        let all: Properties<'_> =
            properties.iter().map(|property| (property.name.as_str(), value(&property.value))).collect();
        match connection.call(of_manager("SetUnitProperties"), &(unit.name.as_str(), true, all)) {
            Ok(_) => return Ok(()),
            Err(CallError::Refused(name, text)) => match unknown_property(&properties, &text) {
                Some(unknown) => properties.retain(|property| property.name != unknown.name),
                None => {
                    let text = format!("systemd refuses to change {}: {name}: {text}", unit.name);
                    return Err(Error::new(text));
                }
            },
            Err(CallError::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Has systemd move a process into a folder of a unit, `/` for its own: a user may not move one out of a folder that
/// his manager was not given, such as that of his login.
///
/// # Errors
/// When systemd refuses, or does not answer in time.
pub fn attach(unit: &SavedUnit, below: &Path, pid: i32) -> Result<()> {
    let mut connection = Connection::open(unit.bus)?;
    let below = below.to_string_lossy();
    let body = (unit.name.as_str(), below.as_ref(), vec![pid.unsigned_abs()]);
    connection
        .call(of_manager("AttachProcessesToUnit"), &body)
        .map(drop)
        .map_err(|error| error.into_error(&format!("to attach process {pid} to {}", unit.name)))
}

/// Stops a unit, all of whose processes have ended, and waits until it is gone. One that is gone is fine.
///
/// # Errors
/// When systemd refuses, or does not finish in time.
pub fn stop(unit: &SavedUnit) -> Result<()> {
    let mut connection = Connection::open(unit.bus)?;
    watch_jobs(&mut connection, &unit.name)?;
    match connection.call(of_manager("StopUnit"), &(unit.name.as_str(), "replace")) {
        Ok(answer) => {
            let (job,): (OwnedObjectPath,) = answer.body()?;
            wait_for_job(&mut connection, job.as_str(), &unit.name, "stop")
        }
        Err(CallError::Refused(name, _)) if name.ends_with(".NoSuchUnit") => Ok(()),
        Err(error) => Err(error.into_error(&format!("to stop {}", unit.name))),
    }
}

fn value(value: &PropertyValue) -> Value<'_> {
    match value {
        PropertyValue::Bool(value) => Value::from(*value),
        PropertyValue::I32(value) => Value::from(*value),
        PropertyValue::U32(value) => Value::from(*value),
        PropertyValue::I64(value) => Value::from(*value),
        PropertyValue::U64(value) => Value::from(*value),
        PropertyValue::Double(value) => Value::from(*value),
        PropertyValue::Text(value) => Value::from(value.as_str()),
        PropertyValue::Texts(values) => Value::from(values.clone()),
        PropertyValue::Bytes(bytes) => Value::from(bytes.clone()),
    }
}
