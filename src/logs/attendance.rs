//! Whether a manager is there who would read what a container writes.

use tokio::sync::watch;

/// The connections to the shim at one moment, and how often there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attendance {
    /// How many are open.
    pub connections: usize,
    /// How often the last one was closed so far.
    pub absences: u64,
}

/// The life of one process as far as its output is concerned; it only goes forward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It runs, or its output is simply read to its end.
    #[default]
    Running,
    /// It has ended: nobody that it was to hold back is left, so what it wrote last waits for no reader.
    Ended,
    /// Its output is not read any more.
    Stopped,
    /// It was deleted: what is left is delivered soon or never.
    Closed,
}

/// What a full fifo means: that its writer has to wait, or that nobody may be there to read.
#[derive(Debug, Clone)]
pub struct Outage {
    attendance: watch::Receiver<Attendance>,
    phase: watch::Receiver<Phase>,
    /// The absences after which the reader was seen again.
    overcome: u64,
}

impl Outage {
    /// None yet. What was before is the past.
    #[must_use]
    pub fn new(attendance: watch::Receiver<Attendance>, phase: watch::Receiver<Phase>) -> Self {
        let overcome = attendance.borrow().absences;
        Self {
            attendance,
            phase,
            overcome,
        }
    }

    /// Whether a full fifo may be nobody's fault but that of a manager who is away. A manager who is back is not yet a
    /// reader who is: containerd connects to its shims first and opens the fifos some time later.
    #[must_use]
    pub fn lasts(&self) -> bool {
        let attendance = *self.attendance.borrow();
        attendance.connections == 0
            || attendance.absences != self.overcome
            || *self.phase.borrow() >= Phase::Ended
    }

    /// To be told when the reader of a full fifo has taken something: with a manager there, that ends the outage.
    pub fn reader_seen(&mut self) {
        let attendance = *self.attendance.borrow();
        if attendance.connections > 0 {
            self.overcome = attendance.absences;
        }
    }

    /// Waits until [`Self::lasts`] may say something else. Each change is told once.
    pub async fn changed(&mut self) {
        // An error means that nobody is left to change it.
        tokio::select! {
            Ok(()) = self.attendance.changed() => {}
            Ok(()) = self.phase.changed() => {}
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(connections: usize, absences: u64) -> Attendance {
        Attendance {
            connections,
            absences,
        }
    }

    #[test]
    fn an_outage_ends_with_the_reader_and_not_with_the_managers_return() {
        let (manager, attendance) = watch::channel(at(1, 4));
        let (phase, ended) = watch::channel(Phase::Running);
        let mut outage = Outage::new(attendance, ended);
        assert!(!outage.lasts());
        manager.send_replace(at(0, 5));
        assert!(outage.lasts());
        outage.reader_seen();
        assert!(outage.lasts(), "nobody is connected");
        manager.send_replace(at(1, 5));
        assert!(outage.lasts(), "nobody has read");
        outage.reader_seen();
        assert!(!outage.lasts());
        manager.send_replace(at(2, 6));
        assert!(outage.lasts(), "an absence that nobody saw is one");
        outage.reader_seen();
        assert!(!outage.lasts());
        phase.send_replace(Phase::Ended);
        assert!(outage.lasts());
    }
}
