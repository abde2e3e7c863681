//! Threads for what blocks: disks, mounts, files of the kernel that take long to print.
//!
//! Not the async runtime's own, which panics where no thread can be made (EAGAIN of clone(2): RLIMIT_NPROC, `pids.max`), and
//! a panic ends a shim and the supervisor. Here the work is then done by the calling thread, which waits for it: slow, and
//! nothing is lost.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// They wait for disks and mounts only; more than a few would only wait together. No work waits for other work.
const MOST_THREADS: usize = 16;
/// Their stack, in bytes, of which only what is touched costs memory.
const STACK: usize = 1 << 20;
/// How long a thread is kept for the next piece of work.
const KEEP_ALIVE: Duration = Duration::from_millis(200);

type Work = Box<dyn FnOnce() + Send>;

/// The threads of this process, and what they have to do.
struct Workers {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

static WORKERS: Mutex<Workers> = Mutex::new(Workers {
    queue: VecDeque::new(),
    threads: 0,
    idle: 0,
});
/// Work was queued.
static QUEUED: Condvar = Condvar::new();
/// A thread has nothing to do.
static RESTS: Condvar = Condvar::new();

fn workers() -> MutexGuard<'static, Workers> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The work has panicked.
#[derive(Debug, thiserror::Error)]
#[error("a worker thread panicked")]
pub struct Panicked;

/// Begins to do `work` on a worker thread; the future waits for the result. The work is done whether or not anybody waits.
///
/// # Errors
/// [`Panicked`]; a release build ends then instead.
pub fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Panicked>> + Send + 'static {
    let (done, result) = oneshot::channel();
    submit(Box::new(move || drop(done.send(work()))), || {
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(work_on)
            .map(drop)
    });
    async { result.await.map_err(|_| Panicked) }
}

/// Queues `work`; `start` makes one more thread, where one is needed.
fn submit(work: Work, start: impl FnOnce() -> io::Result<()>) {
    let mut all = workers();
    all.queue.push_back(work);
    if all.idle >= all.queue.len() {
        QUEUED.notify_one();
        return;
    }
    if all.threads >= MOST_THREADS {
        return;
    }
    all.threads += 1;
    drop(all);
    if start().is_ok() {
        return;
    }
    let mut all = workers();
    all.threads -= 1;
    // A thread that has nothing to do takes it. One that is at work may hang, on a disk that does not answer.
    if all.idle > 0 {
        QUEUED.notify_one();
        return;
    }
    let left = std::mem::take(&mut all.queue);
    drop(all);
    left.into_iter().for_each(|work| work());
}

/// What a worker thread does until there is nothing left.
fn work_on() {
    let mut all = workers();
    loop {
        while let Some(work) = all.queue.pop_front() {
            drop(all);
            // In a build that unwinds, the thread must outlive a panic of its work: it is counted.
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
            all = workers();
        }
        all.idle += 1;
        RESTS.notify_all();
        let waited = QUEUED.wait_timeout(all, KEEP_ALIVE);
        let (locked, timing) = waited.unwrap_or_else(PoisonError::into_inner);
        all = locked;
        all.idle -= 1;
        if timing.timed_out() && all.queue.is_empty() {
            all.threads -= 1;
            RESTS.notify_all();
            return;
        }
    }
}

/// Waits until all work is done, `within` at most; whether it is. Blocks.
pub fn finish(within: Duration) -> bool {
    let end = Instant::now() + within;
    let mut all = workers();
    while !(all.queue.is_empty() && all.idle == all.threads) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let waited = RESTS.wait_timeout(all, left);
        all = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn all_work_is_done_and_each_result_is_its_own() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async {
            let work = (0..200).map(|number| tokio::spawn(run(move || number * 2)));
            for (number, result) in work.collect::<Vec<_>>().into_iter().enumerate() {
                assert_eq!(result.await.unwrap().unwrap(), number * 2);
            }
            let panicked = run(|| assert!(std::hint::black_box(false), "on purpose")).await;
            assert!(panicked.is_err());
            assert_eq!(run(|| 1).await.unwrap(), 1);
        });
        assert!(finish(Duration::from_secs(60)));
    }

    #[test]
    fn without_a_thread_the_caller_does_the_work_or_a_thread_that_is_there_already() {
        let done = Arc::new(AtomicUsize::new(0));
        for number in 1..=3 {
            let counted = Arc::clone(&done);
            let work = move || {
                counted.fetch_add(1, Ordering::SeqCst);
            };
            submit(Box::new(work), || Err(io::ErrorKind::WouldBlock.into()));
            assert!(finish(Duration::from_secs(60)));
            assert_eq!(done.load(Ordering::SeqCst), number);
        }
    }
}
