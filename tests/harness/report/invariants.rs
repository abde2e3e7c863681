//! What the thirteen invariants are called in tables and legends. The numbers are those of the design's list, which the
//! checks carry.

/// An invariant's names.
pub struct Named {
    /// Its number.
    pub number: u8,
    /// In the head of a column.
    pub short: &'static str,
    /// In a sentence, for a legend.
    pub long: &'static str,
}

/// All of them, in order.
pub const ALL: [Named; 13] = [
    named(
        1,
        "acknowledged survives",
        "A create, start, stop or remove that was acknowledged survives.",
    ),
    named(
        2,
        "nothing lost or back",
        "No container is lost, hidden or resurrected.",
    ),
    named(
        3,
        "one init, one name",
        "At most one live init per container id; names are unique.",
    ),
    named(
        4,
        "exit as the kernel's",
        "Exit code and time are the kernel's; 255 only where the shim and its record are gone.",
    ),
    named(
        5,
        "states go forward",
        "States go from created to running to exited to gone, or from unknown to exited; a finish time never changes.",
    ),
    named(
        6,
        "times in order",
        "Started is not after finished, and both are the same after a restart.",
    ),
    named(
        7,
        "log whole",
        "No byte of a log is lost, doubled or out of order; every record parses.",
    ),
    named(
        8,
        "writes never block",
        "A container's write never blocks because its manager is down.",
    ),
    named(
        9,
        "reopen obeyed",
        "After a reopen that was answered nothing goes to the old file; after an error there is no new file.",
    ),
    named(
        10,
        "stop, remove end",
        "Stop and remove may be repeated, and end.",
    ),
    named(11, "nobody delayed", "One bad container delays no other."),
    named(
        12,
        "nothing leaked",
        "At rest no shim, mount, cgroup, namespace, fifo, socket, directory or zombie is left over.",
    ),
    named(
        13,
        "events once, in order",
        "Every change of state gives its event once per connection and in order, or a resync after a reconnect.",
    ),
];

const fn named(number: u8, short: &'static str, long: &'static str) -> Named {
    Named {
        number,
        short,
        long,
    }
}

/// The short name of a number; one that is not in the list has none.
pub fn short(number: u8) -> &'static str {
    let found = ALL.iter().find(|named| named.number == number);
    found.map_or("not in the list", |named| named.short)
}

/// The sentence of a number.
pub fn long(number: u8) -> &'static str {
    let found = ALL.iter().find(|named| named.number == number);
    found.map_or("This number is not in the list.", |named| named.long)
}
