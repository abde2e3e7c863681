//! Makes a failing case small: parts of it are left out as long as it fails without them (Zeller and Hildebrandt 2002).

use std::time::{Duration, Instant};

use crate::torture::Burst;

/// How long this may take. What fails only sometimes is not made much smaller.
const LIMIT: Duration = Duration::from_secs(150);

/// The history of the smallest part of `bursts` that was seen to fail; `history` is that of all of them. `fails` runs a part
/// and gives its history where it failed.
pub fn smallest(
    bursts: &[Burst],
    history: Vec<String>,
    fails: impl Fn(&[Burst]) -> Option<Vec<String>>,
) -> Vec<String> {
    let end = Instant::now() + LIMIT;
    // What came after the failure has no part in it: a burst is a line at least.
    let mut current: Vec<Burst> = bursts[..history.len().min(bursts.len())].to_vec();
    let mut best = history;
    let mut parts = 2;
    while current.len() > 1 && Instant::now() < end {
        let length = current.len().div_ceil(parts);
        let smaller = (0..parts).find_map(|part| {
            if Instant::now() >= end {
                return None;
            }
            let from = (part * length).min(current.len());
            let to = (from + length).min(current.len());
            let rest = [&current[..from], &current[to..]].concat();
            if rest.is_empty() || rest.len() == current.len() {
                return None;
            }
            fails(&rest).map(|history| (rest, history))
        });
        match smaller {
            Some((rest, history)) => {
                current = rest;
                best = history;
                parts = (parts - 1).max(2);
            }
            None if parts >= current.len() => break,
            None => parts = (parts * 2).min(current.len()),
        }
    }
    fewer_ops(current, best, end, fails)
}

/// Leaves out single operations.
fn fewer_ops(
    mut current: Vec<Burst>,
    mut best: Vec<String>,
    end: Instant,
    fails: impl Fn(&[Burst]) -> Option<Vec<String>>,
) -> Vec<String> {
    let mut at = (0, 0);
    while at.0 < current.len() && Instant::now() < end {
        if at.1 >= current[at.0].ops.len() {
            at = (at.0 + 1, 0);
            continue;
        }
        let mut rest = current.clone();
        rest[at.0].ops.remove(at.1);
        match fails(&rest) {
            Some(history) => {
                current = rest;
                best = history;
            }
            None => at.1 += 1,
        }
    }
    best
}
