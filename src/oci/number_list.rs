//! Lists of CPUs or memory nodes as the kernel writes them: `0-3,7` (cpuset(7), "List format"). Pure.

/// The largest number that is taken: far above what any kernel has, and a mask of it stays small.
const LARGEST: u32 = 65_535;

/// The numbers of a list in ascending order, each once. An empty text is an empty list.
///
/// # Errors
/// What is wrong with the text, in words that follow a JSON path.
pub fn parse(text: &str) -> Result<Vec<u32>, String> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
        let (first, last) = range(part.trim()).ok_or_else(|| format!("{text:?} is not a list like 0-3,7"))?;
        if first > last {
            return Err(format!("{text:?} holds a range that ends before it begins: {part}"));
        }
        if last > LARGEST {
            return Err(format!("{last} is out of range: 0 to {LARGEST}"));
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn range(part: &str) -> Option<(u32, u32)> {
    let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    match part.split_once('-') {
        None => number(part).map(|only| (only, only)),
        Some((first, last)) => Some((number(first)?, number(last)?)),
    }
}

/// The list as the kernel would write it.
pub fn show(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let text = parts.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_sorted_and_written_back() {
        assert_eq!(parse("7,0-3,2").unwrap(), [0, 1, 2, 3, 7]);
        assert_eq!(show(&[0, 1, 2, 3, 7]), "0-3,7");
        assert_eq!(parse(" 1 , 4-5 \n").unwrap(), [1, 4, 5]);
        assert!(parse("").unwrap().is_empty());
        assert_eq!(show(&[]), "");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["x", "1,", ",", "1-", "-1", "1-2-3", "+1", "0x1", "1 2", "99999999999"] {
            assert!(parse(text).unwrap_err().contains("is not a list like 0-3,7"), "{text}");
        }
        assert_eq!(parse("3-1").unwrap_err(), "\"3-1\" holds a range that ends before it begins: 3-1");
        assert_eq!(parse("65536").unwrap_err(), "65536 is out of range: 0 to 65535");
    }
}
