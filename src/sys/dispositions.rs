//! What each signal does to the shim and to the supervisor: one table, in which every signal is that could end or stop them.
//!
//! A handled signal is listened for by [`super::signals`]. Handlers end with execve(2), ignored signals stay ignored: children
//! are given defaults ([`default_all`], [`super::spawn`]).

use std::io;
use std::ops::RangeInclusive;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use self::Decision::{Handle, Ignore};

/// What becomes of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A listener hears it, from when it is installed; before that it has its default action.
    Handle,
    /// It changes nothing.
    Ignore,
    /// The kernel's default action (signal(7)).
    Default,
}

/// Short, for the table.
const DEFAULT: Decision = Decision::Default;

/// Which program decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A shim that serves.
    Shim,
    /// `outlive serve`.
    Supervisor,
}

/// Some signals, and what becomes of them.
#[derive(Debug)]
pub struct Row {
    /// Their numbers.
    pub signals: RangeInclusive<libc::c_int>,
    /// In the shim.
    pub shim: Decision,
    /// In the supervisor.
    pub supervisor: Decision,
    /// Why.
    pub reason: &'static str,
}

const fn row(
    signal: libc::c_int,
    shim: Decision,
    supervisor: Decision,
    reason: &'static str,
) -> Row {
    Row {
        signals: signal..=signal,
        shim,
        supervisor,
        reason,
    }
}

const FAULT: &str =
    "a fault of the program itself: going on is undefined (sigaction(2)), a core dump helps";
const TIMER: &str = "an interval timer outlives execve(2), so one may be inherited; none is used";
const TERMINAL: &str = "a terminal must not stop a daemon; ignored, a write to it succeeds and a read answers EIO (termios(3))";

/// Every signal that ends or stops a process by default (signal(7)), and SIGCHLD. SIGKILL and SIGSTOP cannot be decided on.
pub const TABLE: &[Row] = &[
    row(
        libc::SIGHUP,
        Handle,
        Handle,
        "the shim ends once it has no task; the supervisor logs that it reads nothing again",
    ),
    row(
        libc::SIGINT,
        Handle,
        Handle,
        "the shim ends once it has no task; the supervisor ends",
    ),
    row(
        libc::SIGQUIT,
        Ignore,
        DEFAULT,
        "a shim is all that knows its containers; the supervisor can be started again, and its user wants a core dump",
    ),
    row(libc::SIGILL, DEFAULT, DEFAULT, FAULT),
    row(libc::SIGTRAP, DEFAULT, DEFAULT, FAULT),
    row(libc::SIGABRT, DEFAULT, DEFAULT, FAULT),
    row(libc::SIGBUS, DEFAULT, DEFAULT, FAULT),
    row(libc::SIGFPE, DEFAULT, DEFAULT, FAULT),
    row(
        libc::SIGUSR1,
        Handle,
        Handle,
        "the shim dumps its state; the supervisor logs that it has nothing to do",
    ),
    row(libc::SIGSEGV, DEFAULT, DEFAULT, FAULT),
    row(
        libc::SIGUSR2,
        Handle,
        Handle,
        "the shim reopens its logs; the supervisor logs that it has nothing to do",
    ),
    row(
        libc::SIGPIPE,
        Ignore,
        Ignore,
        "a reader that is gone is the error EPIPE of one write",
    ),
    row(libc::SIGALRM, Ignore, Ignore, TIMER),
    row(
        libc::SIGTERM,
        Handle,
        Handle,
        "the shim ends once it has no task; the supervisor ends",
    ),
    row(libc::SIGSTKFLT, Ignore, Ignore, "the kernel never sends it"),
    row(
        libc::SIGCHLD,
        Handle,
        DEFAULT,
        "ignored, as a parent may leave it, it would take the exit status of every child away (wait(2))",
    ),
    row(libc::SIGTSTP, Ignore, Ignore, TERMINAL),
    row(libc::SIGTTIN, Ignore, Ignore, TERMINAL),
    row(libc::SIGTTOU, Ignore, Ignore, TERMINAL),
    row(
        libc::SIGXCPU,
        Ignore,
        Ignore,
        "RLIMIT_CPU's soft limit is a warning; the kernel kills at the hard limit",
    ),
    row(
        libc::SIGXFSZ,
        Ignore,
        Ignore,
        "a file at RLIMIT_FSIZE is the error EFBIG of one write (setrlimit(2))",
    ),
    row(libc::SIGVTALRM, Ignore, Ignore, TIMER),
    row(libc::SIGPROF, Ignore, Ignore, TIMER),
    row(
        libc::SIGIO,
        Ignore,
        Ignore,
        "no descriptor is in signal-driven mode",
    ),
    row(
        libc::SIGPWR,
        Ignore,
        Ignore,
        "a power failure is for the init system to act on",
    ),
    row(
        libc::SIGSYS,
        DEFAULT,
        DEFAULT,
        "a seccomp filter that traps a system call wants to be seen",
    ),
    Row {
        signals: FIRST_RESERVED..=LAST,
        shim: Ignore,
        supervisor: Ignore,
        reason: "real-time signals mean what two programs agree on, and no program has agreed on one with these; the two that the C library uses itself are left alone",
    },
];

/// The real-time signals begin here, the C library's own ones first (signal(7)).
const FIRST_RESERVED: libc::c_int = 32;
/// The largest number.
const LAST: libc::c_int = 64;

/// Has the table's decisions apply to this process, and blocks no signal. To be called first of all: with one thread, and
/// before any listener is installed.
///
/// # Errors
/// What rt_sigaction(2) or sigprocmask(2) answered first; the other signals are decided on all the same.
pub fn apply(program: Program) -> io::Result<()> {
    let mut first = Ok(());
    for row in TABLE {
        let decision = match program {
            Program::Shim => row.shim,
            Program::Supervisor => row.supervisor,
        };
        for signal in row.signals.clone() {
            first = first.and(decide(signal, decision));
        }
    }
    let none = SigSet::empty();
    let unblocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&none), None);
    first.and(unblocked.map_err(io::Error::from))
}

fn decide(signal: libc::c_int, decision: Decision) -> io::Result<()> {
    match (decision, current(signal)?) {
        // The handler of the C library, or the one of Rust's runtime that tells of a stack overflow.
        (_, Handler::Function) => Ok(()),
        (Ignore, Handler::Ignore | Handler::Default) => set(signal, libc::SIG_IGN),
        (Handle | Decision::Default, Handler::Ignore | Handler::Default) => {
            set(signal, libc::SIG_DFL)
        }
    }
}

/// Gives every signal its default action. Makes system calls alone, so that a child may call it between fork and exec.
pub fn default_all() {
    for signal in 1..=LAST {
        // SIGKILL and SIGSTOP are refused, and have theirs.
        set(signal, libc::SIG_DFL).ok();
    }
}

/// What a signal has now.
enum Handler {
    Ignore,
    Default,
    Function,
}

/// The kernel's `struct sigaction`, whose first member is the handler on every architecture but MIPS; the others differ in
/// their order and have these sizes at most. Zeroes are no flags and an empty mask everywhere.
#[repr(C)]
#[derive(Default)]
struct Action {
    handler: libc::sighandler_t,
    others: [u64; 3],
}

/// The size of the kernel's signal mask, in bytes.
const MASK: usize = 8;

fn current(signal: libc::c_int) -> io::Result<Handler> {
    let mut found = Action::default();
    rt_sigaction(signal, std::ptr::null(), &raw mut found)?;
    Ok(match found.handler {
        libc::SIG_DFL => Handler::Default,
        libc::SIG_IGN => Handler::Ignore,
        _ => Handler::Function,
    })
}

fn set(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<()> {
    let wanted = Action {
        handler,
        ..Action::default()
    };
    rt_sigaction(signal, &raw const wanted, std::ptr::null_mut())
}

/// By hand: sigaction(3) refuses the numbers that the C library keeps to itself.
fn rt_sigaction(signal: libc::c_int, new: *const Action, old: *mut Action) -> io::Result<()> {
    // SAFETY: both pointers are null or lead to an action that outlives the call; only SIG_DFL and SIG_IGN are ever set, so
    // no code is named that could run.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, MASK) };
    Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// signal(7): the default action of these is to do nothing, or to go on.
    const HARMLESS: [libc::c_int; 3] = [libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];

    #[test]
    fn every_signal_that_ends_or_stops_a_process_is_decided_on_once() {
        for signal in 1..=LAST {
            let rows = TABLE.iter().filter(|row| row.signals.contains(&signal));
            let expected = match signal {
                libc::SIGKILL | libc::SIGSTOP => 0,
                signal if HARMLESS.contains(&signal) => 0,
                _ => 1,
            };
            assert_eq!(rows.count(), expected, "signal {signal}");
        }
        assert!(TABLE.iter().all(|row| !row.reason.is_empty()));
    }

    #[test]
    fn the_c_librarys_real_time_signals_have_the_numbers_that_the_table_knows() {
        assert!((FIRST_RESERVED..=LAST).contains(&libc::SIGRTMIN()));
        assert_eq!(libc::SIGRTMAX(), LAST);
    }

    #[test]
    fn a_child_has_default_actions_whatever_its_parent_ignores() {
        let told = |status: String| {
            let mut lines = status.lines();
            let mask = lines.find_map(|line| line.strip_prefix("SigIgn:\t"));
            u64::from_str_radix(mask.unwrap(), 16).unwrap()
        };
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        set(libc::SIGXFSZ, libc::SIG_IGN).unwrap();
        set(libc::SIGRTMAX(), libc::SIG_IGN).unwrap();
        assert_ne!(told(status), 0, "Rust's runtime ignores SIGPIPE");
        let mut command = std::process::Command::new("/bin/cat");
        command.arg("/proc/self/status");
        super::super::limits::as_started(&mut command);
        let output = command.output().unwrap();
        set(libc::SIGXFSZ, libc::SIG_DFL).unwrap();
        set(libc::SIGRTMAX(), libc::SIG_DFL).unwrap();
        assert_eq!(told(String::from_utf8(output.stdout).unwrap()), 0);
    }
}
