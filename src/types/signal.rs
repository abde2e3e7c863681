//! Signals 1..=64, real-time ones included.

use std::fmt;

/// A signal number that kill(2) takes on Linux, 1..=64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(u8);

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGTERM.
    pub const TERM: Self = Self(15);

    /// `raw` as a signal, or `None` where the kernel knows no such one (signal(7): `_NSIG` is 64).
    #[must_use]
    pub fn new(raw: u32) -> Option<Self> {
        u8::try_from(raw)
            .ok()
            .filter(|number| (1..=64).contains(number))
            .map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_to_sixty_four_are_signals() {
        assert_eq!(
            (0..400)
                .filter(|&raw| Signal::new(raw).is_some())
                .collect::<Vec<_>>(),
            (1..=64).collect::<Vec<_>>()
        );
        assert_eq!(Signal::new(u32::MAX), None);
    }
}
