//! What every measurement is given: who takes part, how often, and in which order.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::measure::{Findings, OUTLIVE, Skipped};
use crate::peer::Peer;
use crate::shim::Ground;

/// Rounds before those that count.
const WARM_UP: usize = 2;

/// How often something is measured.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// Rounds that do not count, before those that do.
    pub warm_up: usize,
    pub counted: usize,
}

/// One run of `make bench`.
pub struct Bench {
    /// A fifth of the rounds: figures that are good enough to see whether a change did anything.
    pub is_quick: bool,
    pub peers: Vec<Peer>,
    pub ground: Ground,
    pub findings: Findings,
}

impl Bench {
    /// So many rounds, after warm-up.
    pub fn rounds(&self, full: usize) -> Rounds {
        let counted = if self.is_quick {
            (full / 5).max(3)
        } else {
            full
        };
        Rounds {
            warm_up: WARM_UP,
            counted,
        }
    }

    /// Says what was left out.
    pub fn skip(&mut self, what: &str, why: &str) {
        println!("skipped: {what}: {why}");
        self.findings.skipped.push(Skipped {
            what: what.to_owned(),
            why: why.to_owned(),
        });
    }

    /// Measures each of `who` once a round, the first one another each time, and answers the values of each in the order
    /// of the rounds. Warm-up rounds come before and are forgotten. Another's that fails is left out from then on, and
    /// has no values; this project's has to succeed.
    pub fn alternate<S: Named, T>(
        &mut self,
        what: &str,
        rounds: Rounds,
        who: &[S],
        mut measure: impl FnMut(&Ground, &S) -> T,
    ) -> Vec<Vec<T>> {
        let mut values: Vec<Option<Vec<T>>> = who.iter().map(|_| Some(Vec::new())).collect();
        for round in 0..rounds.warm_up + rounds.counted {
            for place in 0..who.len() {
                let index = (round + place) % who.len();
                let Some(taken) = &mut values[index] else {
                    continue;
                };
                let name = who[index].name();
                let measured = if name == OUTLIVE {
                    Ok(measure(&self.ground, &who[index]))
                } else {
                    let attempt = AssertUnwindSafe(|| measure(&self.ground, &who[index]));
                    catch_unwind(attempt)
                };
                match measured {
                    Ok(value) if round >= rounds.warm_up => taken.push(value),
                    Ok(_) => {}
                    Err(_) => {
                        values[index] = None;
                        self.skip(&format!("{what}: {name}"), "a call of it failed, see above");
                    }
                }
            }
        }
        values.into_iter().map(Option::unwrap_or_default).collect()
    }
}

/// One who is measured.
pub trait Named {
    /// The name of its series.
    fn name(&self) -> &'static str;
}

impl Named for Peer {
    fn name(&self) -> &'static str {
        self.name
    }
}
