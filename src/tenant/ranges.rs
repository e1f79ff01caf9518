//! Which range of ids a new tenant gets: one that no other tenant, user or service of the host has. Pure.
//!
//! From systemd's container range (`UIDS-GIDS.md`: 524288 to 1879048191), in blocks of 65536.

use crate::error::{Error, Result};
use crate::tenant::ids::WIDTH;

/// First id of the first block.
const FIRST: u32 = 524_288;

/// First id after the last block.
const END: u32 = 1_879_048_192;

/// The first block that overlaps none of `taken`, ranges of (first, count).
///
/// # Errors
/// All are taken.
pub fn free_block(taken: &[(u32, u32)]) -> Result<u32> {
    let overlaps = |first: u32| {
        taken.iter().any(|&(other, count)| {
            let (first, other) = (u64::from(first), u64::from(other));
            first < other + u64::from(count) && other < first + u64::from(WIDTH)
        })
    };
    let free = (FIRST..END).step_by(WIDTH as usize).find(|first| !overlaps(*first));
    free.ok_or_else(|| Error::new("all ranges of ids are in use"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_nobody_elses() {
        assert_eq!(free_block(&[]).unwrap(), FIRST);
        assert_eq!(free_block(&[(FIRST, WIDTH), (FIRST + WIDTH + 5, 1)]).unwrap(), FIRST + 2 * WIDTH);
        assert_eq!(free_block(&[(100_000, 65_536), (500_000, 30_000)]).unwrap(), FIRST + WIDTH);
        assert!(free_block(&[(0, u32::MAX)]).is_err());
    }
}
