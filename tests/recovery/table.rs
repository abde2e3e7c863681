//! The decision table, as it is specified: which checkpoint and which report make what of a container.

use crate::cell;

/// What the shim says, or what there is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It was killed, and its container has left no record of an end.
    NoShim,
    /// It was killed after its container had ended.
    NoShimRecord,
    Created,
    Running,
    Paused,
    Stopped,
    /// It is held by SIGSTOP.
    Unreachable,
}

/// What the disk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    Created,
    Running,
    Exited,
    Unknown,
    /// No status.json.
    Absent,
    /// Half of a status.json.
    Torn,
    /// A status.json of no bytes.
    Empty,
    /// A status.json of a later version, with fields of its own.
    Future,
    /// No container.json, beside a checkpoint that says RUNNING.
    NoMeta,
}

/// What the container is then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// CREATED, and it starts.
    Created,
    /// RUNNING, as its shim says.
    Running,
    /// RUNNING and frozen.
    Paused,
    /// EXITED as its program did.
    Ended,
    /// EXITED by now, with 255 and "Unknown".
    Vanished,
    /// EXITED as its checkpoint says.
    AsIs,
    Unknown,
}

/// What becomes of status.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Not a byte changes.
    Kept,
    /// It says what is shown.
    Written,
}

/// What is announced, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Started,
    Stopped,
}

/// What becomes of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Deleted, with its shim and everything that it had.
    Gone,
    /// Left alone, and its end is noticed.
    Watched,
    /// Left alone, and its shim is asked again.
    Asked,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub becomes: Becomes,
    pub disk: Disk,
    pub told: Told,
    pub task: Task,
}

macro_rules! table {
    ($($name:ident $row:ident { $($test:ident $column:ident => $becomes:ident $disk:ident $told:ident $task:ident;)* })*) => {
        /// The cell of a report and a checkpoint.
        pub fn verdict(reported: Reported, saved: Saved) -> Verdict {
            match (reported, saved) {
                $($((Reported::$row, Saved::$column) => Verdict {
                    becomes: Becomes::$becomes,
                    disk: Disk::$disk,
                    told: Told::$told,
                    task: Task::$task,
                },)*)*
            }
        }

        $(mod $name {
            use super::*;
            $(
                #[test]
                fn $test() {
                    cell::check(Reported::$row, Saved::$column);
                }
            )*
        })*
    };
}

// The match above has no other arm: a missing cell does not compile.
table! {
    no_shim_and_no_record NoShim {
        created   Created  => Created  Kept    Nothing Gone;
        running   Running  => Vanished Written Stopped Gone;
        exited    Exited   => AsIs     Kept    Nothing Gone;
        unknown   Unknown  => Unknown  Kept    Nothing Gone;
        absent    Absent   => Unknown  Kept    Nothing Gone;
        torn      Torn     => Unknown  Kept    Nothing Gone;
        empty     Empty    => Unknown  Kept    Nothing Gone;
        future    Future   => Unknown  Kept    Nothing Gone;
        no_meta   NoMeta   => Unknown  Kept    Nothing Gone;
    }
    no_shim_and_a_record NoShimRecord {
        created   Created  => Ended    Written Stopped Gone;
        running   Running  => Ended    Written Stopped Gone;
        exited    Exited   => AsIs     Kept    Nothing Gone;
        unknown   Unknown  => Ended    Written Stopped Gone;
        absent    Absent   => Ended    Written Stopped Gone;
        torn      Torn     => Ended    Written Stopped Gone;
        empty     Empty    => Ended    Written Stopped Gone;
        future    Future   => Ended    Written Stopped Gone;
        no_meta   NoMeta   => Ended    Written Stopped Gone;
    }
    task_created Created {
        created   Created  => Created  Kept    Nothing Gone;
        running   Running  => Unknown  Written Nothing Gone;
        exited    Exited   => AsIs     Kept    Nothing Gone;
        unknown   Unknown  => Unknown  Kept    Nothing Gone;
        absent    Absent   => Unknown  Kept    Nothing Gone;
        torn      Torn     => Unknown  Kept    Nothing Gone;
        empty     Empty    => Unknown  Kept    Nothing Gone;
        future    Future   => Unknown  Kept    Nothing Gone;
        no_meta   NoMeta   => Unknown  Kept    Nothing Gone;
    }
    task_running Running {
        created   Created  => Running  Written Started Watched;
        running   Running  => Running  Kept    Nothing Watched;
        exited    Exited   => Unknown  Kept    Nothing Watched;
        unknown   Unknown  => Running  Written Nothing Watched;
        absent    Absent   => Unknown  Kept    Nothing Watched;
        torn      Torn     => Unknown  Kept    Nothing Watched;
        empty     Empty    => Unknown  Kept    Nothing Watched;
        future    Future   => Unknown  Kept    Nothing Watched;
        no_meta   NoMeta   => Unknown  Kept    Nothing Watched;
    }
    task_paused Paused {
        created   Created  => Paused   Written Started Watched;
        running   Running  => Paused   Written Nothing Watched;
        exited    Exited   => Unknown  Kept    Nothing Watched;
        unknown   Unknown  => Paused   Written Nothing Watched;
        absent    Absent   => Unknown  Kept    Nothing Watched;
        torn      Torn     => Unknown  Kept    Nothing Watched;
        empty     Empty    => Unknown  Kept    Nothing Watched;
        future    Future   => Unknown  Kept    Nothing Watched;
        no_meta   NoMeta   => Unknown  Kept    Nothing Watched;
    }
    task_stopped Stopped {
        created   Created  => Ended    Written Stopped Gone;
        running   Running  => Ended    Written Stopped Gone;
        exited    Exited   => AsIs     Kept    Nothing Gone;
        unknown   Unknown  => Ended    Written Stopped Gone;
        absent    Absent   => Ended    Written Stopped Gone;
        torn      Torn     => Ended    Written Stopped Gone;
        empty     Empty    => Ended    Written Stopped Gone;
        future    Future   => Ended    Written Stopped Gone;
        no_meta   NoMeta   => Ended    Written Stopped Gone;
    }
    unreachable Unreachable {
        created   Created  => Unknown  Kept    Nothing Asked;
        running   Running  => Unknown  Kept    Nothing Asked;
        exited    Exited   => AsIs     Kept    Nothing Asked;
        unknown   Unknown  => Unknown  Kept    Nothing Asked;
        absent    Absent   => Unknown  Kept    Nothing Asked;
        torn      Torn     => Unknown  Kept    Nothing Asked;
        empty     Empty    => Unknown  Kept    Nothing Asked;
        future    Future   => Unknown  Kept    Nothing Asked;
        no_meta   NoMeta   => Unknown  Kept    Nothing Asked;
    }
}
