//! Which descriptors a container keeps: those of systemd's socket activation, then `--preserve-fds`. Pure:
//! the runtime process gives the environment and asks the kernel.

use crate::error::{Error, Kind, Result};

/// The first descriptor after the standard ones; systemd and `--preserve-fds` both count from here.
pub const FIRST: i32 = 3;

/// What the runtime's own environment says (`sd_listen_fds(3)`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activation {
    /// `LISTEN_PID`.
    pub pid: Option<String>,
    /// `LISTEN_FDS`.
    pub fds: Option<String>,
    /// `LISTEN_FDNAMES`.
    pub names: Option<String>,
}

/// What the container keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many descriptors from [`FIRST`] on stay open, under the same numbers.
    pub count: u32,
    /// `NAME=value` to add to the process's environment, in order.
    pub env: Vec<String>,
}

impl Kept {
    /// The first number that is closed.
    pub fn end(&self) -> i32 {
        FIRST.saturating_add_unsigned(self.count)
    }
}

/// Decides it. `LISTEN_FDS` counts only when `LISTEN_PID` is `own_pid` (conmon rewrites it so); otherwise
/// it was meant for somebody else, as runc has it. `is_inherited` says of a number whether the caller has
/// handed over an open descriptor under it ([`crate::sys::process::is_inherited`]).
///
/// # Errors
/// Names the first descriptor that is not open, or a `LISTEN_FDS` that is no number.
pub fn keep(
    activation: &Activation,
    own_pid: u32,
    preserve: u32,
    is_inherited: impl Fn(i32) -> bool,
) -> Result<Kept> {
    let listen = if is_for(activation, own_pid) { parse_count(activation)? } else { 0 };
    let fault = |number: i64, why: String| {
        Err(Error::new(format!("descriptor {number} is not open: {why}")).kind(Kind::Usage))
    };
    let end = i64::from(FIRST) + i64::from(listen) + i64::from(preserve);
    for number in i64::from(FIRST)..end {
        if i32::try_from(number).is_ok_and(&is_inherited) {
            continue;
        }
        return match u32::try_from(number - i64::from(FIRST)) {
            Ok(index) if index < listen => fault(number, format!("LISTEN_FDS={listen} wants it")),
            _ => fault(number, format!("--preserve-fds {preserve} wants it")),
        };
    }
    Ok(Kept { count: listen.saturating_add(preserve), env: env(activation, listen) })
}

fn is_for(activation: &Activation, own_pid: u32) -> bool {
    activation.pid.as_deref().is_some_and(|pid| pid.parse() == Ok(own_pid))
}

fn parse_count(activation: &Activation) -> Result<u32> {
    let Some(text) = activation.fds.as_deref().filter(|text| !text.is_empty()) else { return Ok(0) };
    text.parse().map_err(|_| Error::new(format!("LISTEN_FDS={text:?} is not a number of descriptors")))
}

/// The process is pid 1 of its namespace, or told so as runc does.
fn env(activation: &Activation, listen: u32) -> Vec<String> {
    if listen == 0 {
        return Vec::new();
    }
    let mut env = vec![format!("LISTEN_FDS={listen}"), "LISTEN_PID=1".to_owned()];
    env.extend(activation.names.as_ref().map(|names| format!("LISTEN_FDNAMES={names}")));
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(pid: &str, fds: &str, names: Option<&str>) -> Activation {
        Activation { pid: Some(pid.into()), fds: Some(fds.into()), names: names.map(Into::into) }
    }

    #[test]
    fn sockets_of_systemd_come_first_and_then_the_preserved_ones() {
        let kept = keep(&activation("10", "2", Some("a:b")), 10, 1, |fd| (3..6).contains(&fd)).unwrap();
        assert_eq!((kept.count, kept.end()), (3, 6));
        assert_eq!(kept.env, ["LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=a:b"]);
    }

    #[test]
    fn sockets_meant_for_another_process_are_neither_kept_nor_announced() {
        for pid in ["11", "", "x", "-10", "010x"] {
            let kept = keep(&activation(pid, "2", None), 10, 0, |_| true).unwrap();
            assert_eq!(kept, Kept::default(), "{pid:?}");
        }
        assert_eq!(keep(&Activation::default(), 10, 0, |_| true).unwrap(), Kept::default());
        assert_eq!(keep(&activation("10", "0", Some("a")), 10, 2, |_| true).unwrap().env, [""; 0]);
    }

    #[test]
    fn the_first_descriptor_that_is_not_open_is_named() {
        let text = |fds, preserve| {
            keep(&activation("10", fds, None), 10, preserve, |fd| fd < 5).unwrap_err().to_string()
        };
        assert_eq!(text("1", 4), "descriptor 5 is not open: --preserve-fds 4 wants it");
        assert_eq!(text("3", 0), "descriptor 5 is not open: LISTEN_FDS=3 wants it");
        assert_eq!(
            text("4294967295", 4_294_967_295),
            "descriptor 5 is not open: LISTEN_FDS=4294967295 wants it"
        );
    }

    #[test]
    fn a_count_that_is_no_number_is_refused() {
        for bad in ["x", "-1", "4294967296", " 1", "1 "] {
            assert!(keep(&activation("10", bad, None), 10, 0, |_| true).is_err(), "{bad:?}");
        }
    }
}
