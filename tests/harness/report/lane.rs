//! Changes over time as bars on a line of pixels. Pure.

use super::scale::Scale;

/// A stretch of pixels in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar<S> {
    /// Its first pixel.
    pub from: i64,
    /// The pixel after its last.
    pub until: i64,
    /// The state.
    pub state: S,
}

/// The bars of a line, and what they leave out.
#[derive(Debug, PartialEq, Eq)]
pub struct Bars<S> {
    /// From left to right; they do not overlap.
    pub bars: Vec<Bar<S>>,
    /// How many states have no pixel of their own.
    pub left_out: usize,
}

/// The bars of changes: from when on it was what, `None` for nothing. The last goes on to the end of the scale. Each is
/// at least a pixel wide; a state that would have to share its pixel with the one before is left out and counted.
pub fn bars<S: Copy + PartialEq>(changes: &[(i64, Option<S>)], scale: Scale) -> Bars<S> {
    let mut changes = changes.to_vec();
    changes.sort_by_key(|(at, _)| *at);
    let ends = changes.iter().skip(1).map(|(at, _)| *at);
    let ends: Vec<i64> = ends.chain([scale.until()]).collect();
    let mut drawn = Bars {
        bars: Vec::<Bar<S>>::new(),
        left_out: 0,
    };
    for ((from, state), until) in changes.into_iter().zip(ends) {
        let Some(state) = state else { continue };
        let (from, until) = (scale.x(from), scale.x(until));
        let until = until.max(from + 1);
        match drawn.bars.last_mut() {
            Some(last) if last.state == state && last.until >= from => {
                last.until = last.until.max(until)
            }
            Some(last) if last.until >= until => drawn.left_out += 1,
            Some(last) => {
                let from = from.max(last.until);
                drawn.bars.push(Bar { from, until, state });
            }
            None => drawn.bars.push(Bar { from, until, state }),
        }
    }
    drawn
}

/// Stretches of time as bars of at least two pixels; those that touch are one.
pub fn stretches(stretches: &[(i64, i64)], scale: Scale) -> Vec<Bar<()>> {
    let mut sorted = stretches.to_vec();
    sorted.sort_unstable();
    let mut drawn: Vec<Bar<()>> = Vec::new();
    for (from, until) in sorted {
        let from = scale.x(from);
        let until = scale.x(until).max(from + 2);
        match drawn.last_mut() {
            Some(last) if last.until >= from => last.until = last.until.max(until),
            Some(_) | None => drawn.push(Bar {
                from,
                until,
                state: (),
            }),
        }
    }
    drawn
}
