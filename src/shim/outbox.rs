//! The queue of the events on their way: their order, and which of them go when it is full. No I/O, no clock, nobody
//! else's hands: [`super::publisher`] owns one.
//!
//! Events leave in the order they came. Above the bound, what goes is decided by what a manager that has been away can
//! do without, the oldest first:
//!
//! ```text
//! superseded   paused + resumed; added and started of an exec whose exit waits as well;    all of them at once:
//!              an OOM before another of the same task                                      "collapsed"
//! then         exits of execs                                                              one at a time:
//! then         paused, resumed, OOM, checkpointed, added and started of living execs       "dropped"
//! then         creation and start of tasks
//! then         deletion of tasks
//! last         exits of tasks
//! ```
//!
//! The foremost event never goes: it may be under way.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::types::{ContainerId, Event, ExecId, Timestamp};

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number: 0, 1, 2, .. in the order of [`Outbox::push`].
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// How many events a full queue has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Those that others in the queue made meaningless.
    pub collapsed: u64,
    /// Those that told something of their own.
    pub dropped: u64,
}

/// What an event is worth to one who was away; the least goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    Superseded,
    ExecExit,
    Passing,
    TaskLife,
    TaskDelete,
    TaskExit,
}

/// The queue.
#[derive(Debug)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    bound: usize,
    next: u64,
    losses: Losses,
}

impl Outbox {
    /// An empty queue for at most `bound` events, two at least: one may be under way.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            bound: bound.max(2),
            next: 0,
            losses: Losses::default(),
        }
    }

    /// Puts an event at the end, and makes room if there are too many then. That may cost the new one itself.
    pub fn push(&mut self, event: Event, at: Timestamp) {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back(Waiting { number, at, event });
        if self.waiting.len() > self.bound {
            self.make_room();
        }
    }

    /// The event that is to leave next.
    #[must_use]
    pub fn front(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Removes the foremost event, which is `number`: it has arrived, or is given up.
    pub fn remove(&mut self, number: u64) {
        if self
            .waiting
            .front()
            .is_some_and(|front| front.number == number)
        {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What a full queue has cost so far.
    #[must_use]
    pub const fn losses(&self) -> Losses {
        self.losses
    }

    fn make_room(&mut self) {
        let worths = worths(&self.waiting);
        let candidates = || worths.iter().copied().enumerate().skip(1);
        let Some((oldest, least)) = candidates().min_by_key(|(_, worth)| *worth) else {
            return;
        };
        if least > Worth::Superseded {
            self.waiting.remove(oldest);
            self.losses.dropped += 1;
            return;
        }
        let before = self.waiting.len();
        let mut index = 0;
        self.waiting.retain(|_| {
            let goes = index > 0 && worths.get(index) == Some(&Worth::Superseded);
            index += 1;
            !goes
        });
        let gone = before - self.waiting.len();
        self.losses.collapsed += u64::try_from(gone).unwrap_or(u64::MAX);
    }
}

fn worth(event: &Event) -> Worth {
    match event {
        Event::Exit { exec: None, .. } => Worth::TaskExit,
        Event::Delete { .. } => Worth::TaskDelete,
        Event::Create { .. } | Event::Start { .. } => Worth::TaskLife,
        Event::Exit { exec: Some(_), .. } => Worth::ExecExit,
        Event::Oom { .. }
        | Event::ExecAdded { .. }
        | Event::ExecStarted { .. }
        | Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Checkpointed { .. } => Worth::Passing,
    }
}

/// The worth of each event among the others.
fn worths(waiting: &VecDeque<Waiting>) -> Vec<Worth> {
    let mut worths: Vec<Worth> = waiting
        .iter()
        .map(|waiting| worth(&waiting.event))
        .collect();
    let mut supersede = |index: usize| {
        if let Some(worth) = worths.get_mut(index) {
            *worth = Worth::Superseded;
        }
    };
    // Seen from the end: an exec's id may be used again after its exit.
    let mut exited: HashSet<(&ContainerId, &ExecId)> = HashSet::new();
    let mut out_of_memory: HashSet<&ContainerId> = HashSet::new();
    for (index, waiting) in waiting.iter().enumerate().rev() {
        match &waiting.event {
            Event::Exit {
                container,
                exec: Some(exec),
                ..
            } => {
                exited.insert((container, exec));
            }
            Event::ExecAdded { container, exec }
            | Event::ExecStarted {
                container, exec, ..
            } if exited.contains(&(container, exec)) => {
                supersede(index);
            }
            Event::Oom { container } if !out_of_memory.insert(container) => supersede(index),
            _ => {}
        }
    }
    // A pause that is under way already needs its end.
    let mut paused: HashMap<&ContainerId, usize> = HashMap::new();
    for (index, waiting) in waiting.iter().enumerate().skip(1) {
        match &waiting.event {
            Event::Paused { container } => {
                paused.insert(container, index);
            }
            Event::Resumed { container } => {
                if let Some(start) = paused.remove(container) {
                    supersede(start);
                    supersede(index);
                }
            }
            _ => {}
        }
    }
    worths
}

#[cfg(test)]
mod tests;
