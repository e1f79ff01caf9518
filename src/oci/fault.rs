//! A list of faults of one document, and the one error it becomes. Pure.

use crate::error::{Error, Result};

/// How many faults one error lists; the rest is counted.
pub const LISTED: usize = 50;

/// How many faults are kept at all: a hostile document of 16 MiB could have millions.
const KEPT: usize = 1000;

/// One fault: where, as a JSON path (`mounts[3].destination`), and why, a clause in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The JSON path; empty when the document as a whole is meant.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

/// The faults of one document, in the order in which they were found; the first thousand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    list: Vec<Fault>,
    cut: bool,
}

impl Faults {
    /// Adds one.
    pub fn add(&mut self, place: impl Into<String>, why: impl Into<String>) {
        if self.is_full() {
            self.cut = true;
        } else {
            self.list.push(Fault { place: place.into(), why: why.into() });
        }
    }

    /// Adds all of `others` behind these.
    pub fn append(&mut self, others: Faults) {
        self.cut |= others.cut || self.list.len() + others.list.len() > KEPT;
        self.list.extend(others.list);
        self.list.truncate(KEPT);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether further ones would not be kept: looking for them is of no use.
    pub fn is_full(&self) -> bool {
        self.list.len() >= KEPT
    }

    /// The faults.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.list.iter()
    }

    /// Leaves out what `unwanted` says.
    pub fn forget(&mut self, unwanted: impl Fn(&Fault) -> bool) {
        self.list.retain(|fault| !unwanted(fault));
    }

    /// Nothing, or one error with all faults: a single one on its line, several one a line below
    /// `N faults in DOCUMENT:`, at most [`LISTED`] of them.
    ///
    /// # Errors
    /// When there is a fault.
    pub fn into_result(self, document: &str) -> Result<()> {
        match self.list.as_slice() {
            [] => Ok(()),
            [one] if one.place.is_empty() => Err(Error::new(&one.why).at(document)),
            [one] => Err(Error::new(&one.why).at(&one.place)),
            many => Err(Error::new(listing(many, self.cut, document))),
        }
    }
}

fn listing(faults: &[Fault], cut: bool, document: &str) -> String {
    let more = if cut { "more than " } else { "" };
    let mut text = format!("{more}{} faults in {document}:", faults.len());
    for fault in faults.iter().take(LISTED) {
        let separator = if fault.place.is_empty() { "" } else { ": " };
        text.push_str(&format!("\n  {}{separator}{}", fault.place, fault.why));
    }
    if faults.len() > LISTED {
        text.push_str(&format!("\n  and {more}{} more", faults.len() - LISTED));
    }
    text
}

/// `text` in quotes and escaped, cut after 80 characters: a hostile value must not flood or forge a log.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize) -> Faults {
        let mut faults = Faults::default();
        for index in 0..count {
            faults.add(format!("a[{index}]"), "is wrong");
        }
        faults
    }

    #[test]
    fn no_fault_is_no_error() {
        assert_eq!(many(0).into_result("config.json"), Ok(()));
    }

    #[test]
    fn one_fault_is_one_line() {
        let error = many(1).into_result("config.json").unwrap_err();
        assert_eq!(error.to_string(), "a[0]: is wrong");
    }

    #[test]
    fn several_faults_are_listed_under_their_document() {
        let error = many(2).into_result("config.json").unwrap_err();
        assert_eq!(error.to_string(), "2 faults in config.json:\n  a[0]: is wrong\n  a[1]: is wrong");
    }

    #[test]
    fn the_list_is_cut_and_the_rest_counted() {
        let text = many(63).into_result("config.json").unwrap_err().to_string();
        assert!(text.starts_with("63 faults in config.json:"));
        assert!(text.ends_with("\n  a[49]: is wrong\n  and 13 more"), "{text}");
    }

    #[test]
    fn a_flood_of_faults_is_not_kept() {
        let mut flood = many(1001);
        flood.append(many(5));
        assert_eq!(flood.iter().count(), 1000);
        let text = flood.into_result("config.json").unwrap_err().to_string();
        assert!(text.starts_with("more than 1000 faults in config.json:"));
        assert!(text.ends_with("\n  and more than 950 more"), "{text}");
    }

    #[test]
    fn hostile_values_are_escaped_and_cut() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted(&"é".repeat(200)).chars().count(), 83);
    }
}
