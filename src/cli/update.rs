//! `isolate update`: other limits for a container. The runtime process, with the caller's privilege.

use std::io::Read;

use clap::{ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::arg::{self, value};
use crate::container::{self, Runtime};
use crate::error::{Call, Error, Explain, Kind, Result};
use crate::oci::read::LARGEST;

/// How the value of an option is read.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// A whole number.
    Number,
    /// Bytes: `1024`, `64m`; -1 lifts the limit.
    Bytes,
    /// As it is.
    Text,
}

/// An option, what is shown for its value, its help, and the property of the resources that it sets.
type Property = (&'static str, &'static str, &'static str, Form, [&'static str; 2]);

/// The options of runc and crun.
const PROPERTIES: [Property; 16] = [
    ("blkio-weight", "WEIGHT", "Weight of its block I/O, 10 to 1000", Form::Number, ["blockIO", "weight"]),
    (
        "cpu-period",
        "US",
        "Length of a period of CPU time in microseconds; keeps the quota",
        Form::Number,
        ["cpu", "period"],
    ),
    (
        "cpu-quota",
        "US",
        "CPU time in a period, in microseconds; -1 is no limit",
        Form::Number,
        ["cpu", "quota"],
    ),
    (
        "cpu-burst",
        "US",
        "Unused CPU time that may be saved up, in microseconds",
        Form::Number,
        ["cpu", "burst"],
    ),
    ("cpu-idle", "0|1", "1: runs only when nothing else does", Form::Number, ["cpu", "idle"]),
    (
        "cpu-rt-period",
        "US",
        "Length of a real-time period in microseconds (cgroup v1)",
        Form::Number,
        ["cpu", "realtimePeriod"],
    ),
    (
        "cpu-rt-runtime",
        "US",
        "Real time in such a period, in microseconds (cgroup v1)",
        Form::Number,
        ["cpu", "realtimeRuntime"],
    ),
    ("cpu-share", "SHARES", "Relative weight of its CPU time, 2 to 262144", Form::Number, ["cpu", "shares"]),
    ("cpuset-cpus", "LIST", "CPUs it may run on, such as 0-3,7", Form::Text, ["cpu", "cpus"]),
    ("cpuset-mems", "LIST", "Memory nodes it may use", Form::Text, ["cpu", "mems"]),
    (
        "kernel-memory",
        "BYTES",
        "Accepted, and without effect: the kernel has no such limit any more",
        Form::Bytes,
        ["memory", "kernel"],
    ),
    ("kernel-memory-tcp", "BYTES", "As --kernel-memory", Form::Bytes, ["memory", "kernelTCP"]),
    ("memory", "BYTES", "Most memory: 67108864 or 64m; -1 is no limit", Form::Bytes, ["memory", "limit"]),
    (
        "memory-reservation",
        "BYTES",
        "Memory it keeps when memory is short",
        Form::Bytes,
        ["memory", "reservation"],
    ),
    (
        "memory-swap",
        "BYTES",
        "Most memory and swap together; -1 is no limit",
        Form::Bytes,
        ["memory", "swap"],
    ),
    ("pids-limit", "NUMBER", "Most processes and threads; -1 is no limit", Form::Number, ["pids", "limit"]),
];

/// Options of Intel RDT, which no container of this version has.
const RDT: [(&str, &str); 2] = [
    ("l3-cache-schema", "Schema of the L3 cache (Intel RDT)"),
    ("mem-bw-schema", "Schema of the memory bandwidth (Intel RDT)"),
];

/// The parser of `update`.
pub fn command() -> Command {
    let option = |(name, shown, help, ..): Property| value(name, shown, help).allow_hyphen_values(true);
    Command::new("update")
        .about("Change the limits of a container: all that are given, or none")
        .arg(
            arg::path("resources", "FILE", "Read them from an OCI resources object; - is standard input")
                .short('r'),
        )
        .args(PROPERTIES.map(option))
        .args(RDT.map(|(name, help)| value(name, "SCHEMA", help)))
        .arg(arg::id())
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  More memory, and fewer processes:
    isolate update --memory 256m --memory-swap 512m --pids-limit 100 web1
  Half a CPU:
    isolate update --cpu-quota 50000 --cpu-period 100000 web1
  From JSON, as engines do it:
    echo '{\"memory\": {\"limit\": 268435456}}' | isolate update --resources - web1";

/// Changes them.
///
/// # Errors
/// As [`container::update`]; or a value that is no number.
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let id = arg::container_id(matches)?;
    container::update(runtime, &id, &asked(matches)?)?;
    Ok(0)
}

/// The resources object that the options make, or that the file has.
fn asked(matches: &ArgMatches) -> Result<Vec<u8>> {
    if let Some((name, _)) = RDT.iter().find(|(name, _)| matches.contains_id(name)) {
        return Err(Error::new("the container has no part in Intel RDT (linux.intelRdt)")
            .at(format!("--{name}"))
            .kind(Kind::Unsupported));
    }
    let options = from_options(matches)?;
    match arg::os_text(matches, "resources") {
        None if options.is_empty() => Err(Error::new("nothing is to be changed")
            .kind(Kind::Usage)
            .hint("name a limit, or use --resources")),
        None => Ok(Value::Object(options).to_string().into_bytes()),
        // runc would read the file and drop the options without a word.
        Some(_) if !options.is_empty() => {
            Err(Error::new("the limits come either from --resources or from other options").kind(Kind::Usage))
        }
        Some(path) if path == "-" => read(std::io::stdin(), "-"),
        Some(path) => {
            let open = || format!("open({path:?})");
            let shown = path.to_string_lossy();
            std::fs::File::open(path)
                .call(open)
                .and_then(|file| read(file, &shown))
                .at(|| format!("--resources {shown}"))
        }
    }
}

fn read(from: impl Read, shown: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes).call(|| format!("read({shown:?})"))?;
    Ok(bytes)
}

fn from_options(matches: &ArgMatches) -> Result<Map<String, Value>> {
    let mut resources = Map::new();
    for (name, _, _, form, [section, property]) in PROPERTIES {
        let Some(text) = arg::text(matches, name).filter(|text| !text.is_empty()) else { continue };
        let value = parse(form, &text).ok_or_else(|| {
            let wanted = match form {
                Form::Bytes => "a number of bytes such as 67108864 or 64m, or -1",
                _ => "a whole number",
            };
            Error::new(format!("invalid value {text:?} for flag --{name}: use {wanted}")).kind(Kind::Usage)
        })?;
        let section = resources.entry(section).or_insert_with(|| json!({}));
        section[property] = value;
    }
    Ok(resources)
}

fn parse(form: Form, text: &str) -> Option<Value> {
    match form {
        Form::Text => Some(json!(text)),
        Form::Number => {
            text.parse::<i64>().ok().filter(|_| !text.starts_with('+')).map(|number| json!(number))
        }
        Form::Bytes if text == "-1" => Some(json!(-1)),
        Form::Bytes => bytes(text).map(|bytes| json!(bytes)),
    }
}

/// runc's sizes: a number, perhaps with a fraction, and a unit that counts in 1024 whatever its case.
fn bytes(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"]
        .iter()
        .position(|known| unit == *known || (!known.is_empty() && unit.strip_suffix('i') == Some(known)))?;
    let number: f64 = number.parse().ok().filter(|_| number.starts_with(|c: char| c.is_ascii_digit()))?;
    let bytes = number * 1024f64.powi(i32::try_from(power).ok()?);
    // Beyond it lies more memory than a kernel can count.
    (bytes < 9e18).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage::{Parsed, parse as parse_args};

    fn asked_by(args: &str) -> Result<String> {
        let parsed = parse_args(command(), args.split(' ').map(Into::into))?;
        let Parsed::Matches(matches) = parsed else { panic!("help") };
        asked(&matches).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn options_make_a_resources_object() {
        let args = "--memory 64m --memory-swap -1 --cpu-quota=-1 --cpuset-cpus 0-1 --pids-limit 7 id";
        let made: Value = serde_json::from_str(&asked_by(args).unwrap()).unwrap();
        let expected = json!({
            "memory": {"limit": 67_108_864, "swap": -1}, "cpu": {"quota": -1, "cpus": "0-1"}, "pids": {"limit": 7}
        });
        assert_eq!(made, expected);
    }

    #[test]
    fn sizes_are_those_of_runc() {
        for (text, size) in [
            ("1", 1),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5k", 1536),
            ("2 G", 2 << 30),
        ] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "m", "-2", "1x", "1mm", "1ib", ".5m", "1.2.3", "9999999999t", "1e5"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (args, why) in [
            ("id", "nothing is to be changed"),
            ("--memory=x id", "invalid value \"x\" for flag --memory: use a number of bytes"),
            ("--pids-limit=1.5 id", "invalid value \"1.5\" for flag --pids-limit: use a whole number"),
            ("-r - --memory 1g id", "the limits come either from --resources or from other options"),
            ("--l3-cache-schema=x id", "--l3-cache-schema: the container has no part in Intel RDT"),
            ("--resources /nonexistent/x id", "--resources /nonexistent/x: open(\"/nonexistent/x\"): ENOENT"),
        ] {
            let error = asked_by(args).unwrap_err().to_string();
            assert!(error.starts_with(why), "{args}: {error}");
        }
    }
}
