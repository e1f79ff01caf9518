//! A list of faults of one document, and the one error it becomes. Pure.

use crate::error::{Error, Result};

/// How many faults one error lists; the rest is counted.
pub const LISTED: usize = 50;

/// One fault: where, as a JSON path (`mounts[3].destination`), and why, a clause in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The JSON path; empty when the document as a whole is meant.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

/// The faults of one document, in the order in which they were found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one.
    pub fn add(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.0.push(Fault { place: place.into(), why: why.into() });
    }

    /// Adds all of `others` behind these.
    pub fn append(&mut self, others: Faults) {
        self.0.extend(others.0);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// Leaves out what `unwanted` says.
    pub fn forget(&mut self, unwanted: impl Fn(&Fault) -> bool) {
        self.0.retain(|fault| !unwanted(fault));
    }

    /// Nothing, or one error with all faults: a single one on its line, several one a line below
    /// `N faults in DOCUMENT:`, at most [`LISTED`] of them.
    ///
    /// # Errors
    /// When there is a fault.
    pub fn into_result(self, document: &str) -> Result<()> {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] if one.place.is_empty() => Err(Error::new(&one.why).at(document)),
            [one] => Err(Error::new(&one.why).at(&one.place)),
            many => Err(Error::new(listing(many, document))),
        }
    }
}

fn listing(faults: &[Fault], document: &str) -> String {
    let mut text = format!("{} faults in {document}:", faults.len());
    for fault in faults.iter().take(LISTED) {
        let separator = if fault.place.is_empty() { "" } else { ": " };
        text.push_str(&format!("\n  {}{separator}{}", fault.place, fault.why));
    }
    if faults.len() > LISTED {
        text.push_str(&format!("\n  and {} more", faults.len() - LISTED));
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
    fn hostile_values_are_escaped_and_cut() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted(&"é".repeat(200)).chars().count(), 83);
    }
}
