//! What runs in the containers: real programs of busybox, each of which numbers the lines that it writes from 0 on, so
//! that every byte of a log can be accounted for.

use crate::target::Spec;

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Workload {
    /// Writes as fast as its pipe takes it, in bursts of 10,000 lines twenty times a second at most.
    FullSpeed,
    /// Writes a line every tenth of a second.
    Slow,
    /// Writes 200,000 lines and ends with 3.
    Burst,
    /// Ends with this code after as many tenths of a second.
    Exits {
        /// The exit code.
        code: u8,
        /// Tenths of a second.
        after: u8,
    },
    /// Ends with this code when it is told to ([`Workload::end_file`]).
    Obedient {
        /// The exit code.
        code: u8,
    },
    /// Writes a line every tenth of a second, and ignores SIGTERM.
    IgnoresTerm,
    /// Ends with 5, and leaves a process behind that holds its standard output.
    Grandchild,
    /// Uses all memory that it may, and is killed for it.
    OutOfMemory,
    /// Does nothing: others execute commands in it.
    Idle,
}

/// Every kind of program, one of each.
pub const ALL: [Workload; 9] = [
    Workload::FullSpeed,
    Workload::Slow,
    Workload::Burst,
    Workload::Exits { code: 7, after: 3 },
    Workload::Obedient { code: 9 },
    Workload::IgnoresTerm,
    Workload::Grandchild,
    Workload::OutOfMemory,
    Workload::Idle,
];

impl Workload {
    /// Its name in the report.
    pub fn name(self) -> String {
        match self {
            Self::FullSpeed => "full speed".to_owned(),
            Self::Slow => "slow".to_owned(),
            Self::Burst => "burst".to_owned(),
            Self::Exits { code, after } => {
                format!("exits {code} after {}.{} s", after / 10, after % 10)
            }
            Self::Obedient { code } => format!("exits {code} when told"),
            Self::IgnoresTerm => "ignores SIGTERM".to_owned(),
            Self::Grandchild => "leaves a grandchild".to_owned(),
            Self::OutOfMemory => "out of memory".to_owned(),
            Self::Idle => "idle".to_owned(),
        }
    }

    /// What a container of this name in this pod is asked for.
    pub fn spec(self, name: &str, pod: &str) -> Spec {
        Spec {
            name: name.to_owned(),
            pod: pod.to_owned(),
            command: ["/bin/sh", "-c", &self.script(name)]
                .map(str::to_owned)
                .to_vec(),
            memory: (self == Self::OutOfMemory).then_some(24 << 20),
            has_host_pids: self == Self::Grandchild,
        }
    }

    fn script(self, name: &str) -> String {
        // `read` from a fifo that nobody writes to waits without a child process.
        let waits = format!("mkfifo /tmp/{name}; exec 3<>/tmp/{name}; n=0;");
        let counts = "while :; do echo $n; n=$((n+1)); read -t 0.1 x <&3; done";
        match self {
            Self::FullSpeed => format!(
                "{waits} while :; do seq $n $((n+9999)); n=$((n+10000)); read -t 0.05 x <&3; done"
            ),
            Self::Slow => format!("{waits} {counts}"),
            Self::IgnoresTerm => format!("trap '' TERM; {waits} {counts}"),
            Self::Burst => "seq 0 199999; exit 3".to_owned(),
            Self::Exits { code, after } => {
                let time = format!("{}.{}", after / 10, after % 10);
                format!("seq 0 4; sleep {time}; exit {code}")
            }
            Self::Obedient { code } => format!(
                "{waits} echo 0; echo 1; until [ -e {} ]; do read -t 0.02 x <&3; done; echo 2; exit {code}",
                Self::end_file(name)
            ),
            Self::Grandchild => "seq 0 1; sleep 100000 & exit 5".to_owned(),
            Self::OutOfMemory => "seq 0 1; exec tail /dev/zero".to_owned(),
            Self::Idle => format!("{waits} echo 0; while :; do read -t 1000 x <&3; done"),
        }
    }

    /// The file, as the container sees it, whose appearance ends [`Workload::Obedient`].
    pub fn end_file(name: &str) -> String {
        format!("/tmp/{name}-end")
    }

    /// How many lines it writes if it comes to its end by itself.
    pub const fn lines(self) -> Option<u64> {
        match self {
            Self::Burst => Some(200_000),
            Self::Exits { .. } => Some(5),
            Self::Obedient { .. } => Some(3),
            Self::Grandchild | Self::OutOfMemory => Some(2),
            Self::Idle => Some(1),
            Self::FullSpeed | Self::Slow | Self::IgnoresTerm => None,
        }
    }

    /// How it ends by itself.
    pub fn own_exit_code(self) -> Option<i32> {
        match self {
            Self::Burst => Some(3),
            Self::Exits { code, .. } | Self::Obedient { code } => Some(i32::from(code)),
            Self::Grandchild => Some(5),
            Self::OutOfMemory => Some(137),
            Self::FullSpeed | Self::Slow | Self::IgnoresTerm | Self::Idle => None,
        }
    }

    /// Whether it goes on for as long as nobody ends it.
    pub const fn lasts(self) -> bool {
        match self {
            Self::FullSpeed
            | Self::Slow
            | Self::IgnoresTerm
            | Self::Idle
            | Self::Obedient { .. } => true,
            Self::Burst | Self::Exits { .. } | Self::Grandchild | Self::OutOfMemory => false,
        }
    }

    /// Whether it goes on writing.
    pub const fn writes_on(self) -> bool {
        match self {
            Self::FullSpeed | Self::Slow | Self::IgnoresTerm => true,
            Self::Burst
            | Self::Exits { .. }
            | Self::Obedient { .. }
            | Self::Grandchild
            | Self::OutOfMemory
            | Self::Idle => false,
        }
    }
}
