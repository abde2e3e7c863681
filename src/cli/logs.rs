//! `outlive logs`, and how `run` shows the output of its container.

use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use super::args::{Global, LogsArgs, Tail};
use super::client::Client;
use super::error::{Error, warn};
use super::log::lines::Start;
use super::log::{Line, Progress, Reader, Stream};
use super::watch::{self, Ended, Watch};
use super::{resolve, time};
use crate::types::Timestamp;

/// The longest pause between two looks at a log that does not grow; the first is a hundredth.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the shim may take for the last of a log after the container's end: a grandchild can hold its output open.
const LAST: Duration = Duration::from_secs(3);
/// As much without a supervisor that says where the bundle is.
const QUIET: Duration = Duration::from_millis(100);
/// What is kept before it is written.
const BUFFER: usize = 64 << 10;

/// Prints a container's log: its stdout to stdout, its stderr to stderr.
pub async fn run(global: &Global, args: &LogsArgs) -> Result<(), Error> {
    let client = Client::connect(global).await?;
    let container = resolve::container(&client, &args.container).await?;
    let status = client.container_status(&container.id).await?;
    if status.log_path.is_empty() {
        return Err(Error::Unsupported(format!(
            "container {} has no log: it was created without a log path",
            args.container
        )));
    }
    let path = PathBuf::from(&status.log_path);
    let now = Timestamp::now();
    let until = args.until.map(|until| until.from(now));
    let mut printer = Printer::new(args.timestamps);
    printer.since = args.since.map(|since| since.from(now));
    printer.until = until;
    let mut reader = match args.tail {
        Tail::All => Reader::from_start(&path),
        Tail::Lines(count) => Reader::tail(&path, count).and_then(|(lines, reader)| {
            lines.into_iter().try_for_each(|line| printer.print(line))?;
            Ok(reader)
        }),
    }
    .map_err(|source| printer.failure(&path, source))?;
    if args.follow {
        let bundle = watch::bundle(&client, &container.id).await;
        let watch = Watch::new(&client, &container.id).await;
        let follower = Follower {
            path: &path,
            reader: &mut reader,
            printer: &mut printer,
        };
        let ended = async {
            tokio::select! {
                ended = watch.ended() => ended.map(Some),
                () = passed(until) => Ok(None),
            }
        };
        follower.until(ended, bundle.as_deref()).await?;
    }
    drain(&path, &mut reader, &mut printer)?;
    finish(&path, &mut reader, &mut printer)
}

/// Waits until a point in time, or forever without one.
async fn passed(until: Option<Timestamp>) {
    match until {
        None => std::future::pending().await,
        Some(until) => tokio::time::sleep(time::between(Timestamp::now(), until)).await,
    }
}

/// Shows a log while it grows.
#[derive(Debug)]
pub struct Follower<'a> {
    /// The log.
    pub path: &'a Path,
    /// Where in it.
    pub reader: &'a mut Reader,
    /// How it is shown.
    pub printer: &'a mut Printer,
}

impl Follower<'_> {
    /// Shows it until `ended` answers, and after an end what the shim still writes: until `bundle` is gone, if it is
    /// known.
    ///
    /// # Errors
    /// Those of `ended`, and what reading and printing answered.
    pub async fn until(
        mut self,
        ended: impl Future<Output = Result<Option<Ended>, Error>>,
        bundle: Option<&Path>,
    ) -> Result<Option<Ended>, Error> {
        let mut ended = pin!(ended);
        let mut pause = PAUSE / 100;
        let ended = loop {
            match self.read()? {
                Progress::More => pause = PAUSE / 100,
                Progress::AtEnd => pause = (pause * 2).min(PAUSE),
            }
            tokio::select! {
                biased;
                ended = &mut ended => break ended,
                () = tokio::time::sleep(pause) => {}
            }
        };
        if let Ok(Some(_)) = ended {
            self.last(bundle).await?;
        }
        ended
    }

    async fn last(mut self, bundle: Option<&Path>) -> Result<(), Error> {
        let limit = if bundle.is_some() { LAST } else { QUIET };
        let mut deadline = Instant::now() + limit;
        loop {
            let done = bundle.is_some_and(|bundle| !bundle.exists());
            while self.read()? == Progress::More {
                if bundle.is_none() {
                    deadline = Instant::now() + limit;
                }
            }
            if done || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(PAUSE / 20).await;
        }
    }

    fn read(&mut self) -> Result<Progress, Error> {
        read(self.path, self.reader, self.printer)
    }
}

/// Prints everything that is there.
fn drain(path: &Path, reader: &mut Reader, printer: &mut Printer) -> Result<(), Error> {
    while read(path, reader, printer)? == Progress::More {}
    Ok(())
}

fn read(path: &Path, reader: &mut Reader, printer: &mut Printer) -> Result<Progress, Error> {
    let progress = reader.read(&mut |line| printer.print(line));
    let progress = progress.map_err(|source| printer.failure(path, source))?;
    if progress == Progress::AtEnd {
        printer.flush().map_err(Error::Output)?;
    }
    Ok(progress)
}

/// Prints the lines that no newline has ended, and says what could not be shown.
///
/// # Errors
/// [`Error::Output`].
pub fn finish(path: &Path, reader: &mut Reader, printer: &mut Printer) -> Result<(), Error> {
    for line in reader.rest() {
        printer.print(line).map_err(Error::Output)?;
    }
    printer.flush().map_err(Error::Output)?;
    let losses = reader.losses();
    let path = path.display();
    if losses.malformed > 0 {
        warn(&format!(
            "{path}: {} lines are not in the CRI log format and were left out",
            losses.malformed
        ));
    }
    if losses.missed > 0 {
        warn(&format!(
            "{path}: files were removed or truncated before they were read; lines are missing"
        ));
    }
    Ok(())
}

/// Writes lines to where their streams go.
#[derive(Debug)]
pub struct Printer {
    times: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    buffer: Vec<u8>,
    stream: Stream,
    /// Whether it was writing that failed, so that a failure of reading is told from it.
    broken: bool,
}

impl Printer {
    /// One that prints all lines, with their times if `times`.
    pub const fn new(times: bool) -> Self {
        Self {
            times,
            since: None,
            until: None,
            buffer: Vec::new(),
            stream: Stream::Stdout,
            broken: false,
        }
    }

    fn print(&mut self, line: Line) -> io::Result<()> {
        let is_before = self.since.is_some_and(|since| line.at < since);
        let is_after = self.until.is_some_and(|until| line.at > until);
        if is_before || is_after {
            return Ok(());
        }
        if line.stream != self.stream || self.buffer.len() > BUFFER {
            self.flush()?;
            self.stream = line.stream;
        }
        if self.times && line.start != Start::Piece {
            self.buffer
                .extend_from_slice(time::text(line.at).as_bytes());
            self.buffer.push(b' ');
        }
        self.buffer.extend_from_slice(&line.bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        if bytes.is_empty() {
            return Ok(());
        }
        let written = match self.stream {
            Stream::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
            Stream::Stderr => io::stderr().write_all(&bytes),
        };
        self.broken = written.is_err();
        written
    }

    fn failure(&self, path: &Path, source: io::Error) -> Error {
        if self.broken {
            return Error::Output(source);
        }
        Error::Io {
            operation: format!("read log {path:?}"),
            source,
        }
    }
}
