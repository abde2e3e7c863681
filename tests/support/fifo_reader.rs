//! A manager's reader of a fifo that can go and come back: what one has read it has, and the next one goes on from there.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What the readers of one fifo got, one after the other.
pub struct FifoReader {
    path: PathBuf,
    got: Arc<Mutex<Vec<u8>>>,
    present: Option<Present>,
}

struct Present {
    leave: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl FifoReader {
    /// Of the fifo at `path`; nobody reads it yet.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            got: Arc::default(),
            present: None,
        }
    }

    /// Opens the fifo, which has a writer, and reads until [`Self::leave`], or its end.
    pub fn come(&mut self) {
        assert!(self.present.is_none(), "it is here already");
        let fifo = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&self.path)
            .unwrap();
        let leave = Arc::<AtomicBool>::default();
        let (got, left) = (Arc::clone(&self.got), Arc::clone(&leave));
        let thread = thread::spawn(move || read(fifo, &got, &left));
        self.present = Some(Present { leave, thread });
    }

    /// Closes the fifo, in the middle of whatever comes.
    pub fn leave(&mut self) {
        let present = self.present.take().expect("it is here");
        present.leave.store(true, Ordering::Relaxed);
        present.thread.join().unwrap();
    }

    /// Whether the one that is here has come to the end.
    pub fn at_end(&self) -> bool {
        self.present
            .as_ref()
            .is_some_and(|present| present.thread.is_finished())
    }

    /// How many bytes came.
    pub fn length(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    /// All that came, to be compared.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.got.lock().unwrap())
    }
}

impl Drop for FifoReader {
    fn drop(&mut self) {
        if let Some(present) = self.present.take() {
            present.leave.store(true, Ordering::Relaxed);
            drop(present.thread.join());
        }
    }
}

fn read(mut fifo: File, got: &Mutex<Vec<u8>>, leave: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !leave.load(Ordering::Relaxed) {
        match fifo.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => got.lock().unwrap().extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_micros(500));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Checks that `got` is the numbers from zero on, one a line, each once and in order; returns how many.
pub fn numbers(got: &[u8]) -> usize {
    let mut lines = 0;
    let mut rest = got;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, next) = rest.split_at(end);
        assert!(
            line == lines.to_string().as_bytes(),
            "line {lines} of {} bytes is {:?}",
            got.len(),
            String::from_utf8_lossy(line)
        );
        (rest, lines) = (&next[1..], lines + 1);
    }
    assert_eq!(String::from_utf8_lossy(rest), "", "an unfinished line");
    lines
}

/// Numbered lines, a thousand a second or somewhat fewer, until there is a file `/stop`; then `/max` has how long the longest
/// write took in hundredths of a second, which is as well as a shell without further processes can tell, `/slow` how many
/// took more than four of them, and `/count` how many lines there were. Time that it waited for a processor does not count (proc(5), `schedstat`: its second number).
pub const STEADY_WRITER: &str = "mkfifo /never; exec 9<>/never
    i=0; max=0; slow=0
    while [ ! -e /stop ]; do
        read x delayed x </proc/self/schedstat
        read before x </proc/uptime
        echo $i
        read after x </proc/uptime
        read x delay x </proc/self/schedstat
        took=$((${after%.*}${after#*.} - ${before%.*}${before#*.} - (delay - delayed) / 10000000))
        [ $took -gt $max ] && max=$took
        [ $took -gt 4 ] && slow=$((slow+1))
        i=$((i+1))
        read -t 0.001 x <&9
    done
    echo $max >/max; echo $slow >/slow; echo $i >/count; exit 7";

/// Checks what the steady writer has measured: no write took 50 ms (40 is what a clock of 10 ms may show for less). A write
/// that waits for a reader takes as long as the outage; a single one that is slower may have met a moment in which the whole
/// machine stood still.
pub fn assert_not_held_up(told: impl Fn(&str) -> usize) {
    let (max, slow) = (told("max"), told("slow"));
    println!("longest write {max}0 ms, {slow} of more than 40 ms");
    assert!(
        slow == 0 || slow == 1 && max < 100,
        "{slow} slow writes, the longest of {max}0 ms"
    );
}
