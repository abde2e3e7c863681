//! The file `exits`: how each process of the container ended, on disk before anybody is told.
//!
//! ```text
//! file   = header record*                          numbers are little-endian
//! header = "outlexit" version:u32                  version 1
//! record = length:u16 body checksum:u32            length of the body; CRC-32 (IEEE 802.3) of length and body
//! body   = pid:u32 start_ticks:u64 boot_id:u128    who, for good: see `ProcessIdentity`
//!          status:u8 flags:u8                      flags: 1 killed for want of memory, 2 started_at is known
//!          exited_at:u64 started_at:u64            nanoseconds since 1970; started_at is 0 where it is not known
//!          exec_id                                 the rest of the body; empty for init
//! ```
//!
//! Records are only ever added at the end, so a crash can spoil no more than the last: a reader takes what comes
//! before the first spoiled one and says so ([`Tail::Torn`]), and the next writer cuts the spoiled end off first.
//! A record whose checksum is right and whose body is none of the above was not spoiled by a crash: somebody who knows
//! more has written it, and the file is Corrupt, so that nobody cuts it off or writes it again with less in it.
//! One writer: the shim.
//!
//! A container whose health is checked by an exec each second writes five megabytes a day, into memory (`/run`): the
//! writer learns the file's length from [`ExitJournal::append`] and drops by [`ExitJournal::compact`] what was told
//! and deleted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{CorruptReason, Read, read_bytes};
use crate::sys::file;
use crate::types::{ExecId, ExitRecord, ExitStatus, Pid, ProcessIdentity, Timestamp};

const MAGIC: &[u8; 8] = b"outlexit";
const VERSION: u32 = 1;
const HEADER_LEN: usize = MAGIC.len() + size_of::<u32>();

const FLAG_OOM_KILLED: u8 = 1;
const FLAG_STARTED: u8 = 2;

/// A hundred times what a compacting writer lets the file become.
const MAX_LEN: u64 = 16 << 20;

/// From this length on, in bytes, [`ExitJournal::compact`] is worth its while: about a thousand records.
pub const COMPACT_AT: u64 = 64 << 10;

/// One process's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitEntry {
    /// Which process; `None` for init.
    pub exec: Option<ExecId>,
    /// Who it was.
    pub identity: ProcessIdentity,
    /// How it ended.
    pub status: ExitStatus,
    /// When the shim took notice.
    pub exited_at: Timestamp,
    /// When its program was started; `None` where it never was, or by another shim.
    pub started_at: Option<Timestamp>,
    /// Whether it was killed for want of memory.
    pub oom_killed: bool,
}

impl ExitEntry {
    /// The part of it that is announced.
    #[must_use]
    pub const fn record(&self) -> ExitRecord {
        ExitRecord {
            pid: self.identity.pid,
            status: self.status,
            exited_at: self.exited_at,
        }
    }
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exits {
    /// The entries, the oldest first.
    pub entries: Vec<ExitEntry>,
    /// How the file ends.
    pub tail: Tail,
}

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With a whole record.
    Whole,
    /// With bytes that are no record: the shim or the machine died while it wrote, before it told anybody.
    Torn,
}

/// The writer of one journal. Its calls block for a write and an fdatasync.
#[derive(Debug)]
pub struct ExitJournal {
    path: PathBuf,
    /// How far the file is known to be whole; `None` before the first look at it.
    whole: Option<u64>,
}

impl ExitJournal {
    /// The journal at `path`; the file is made with the first entry.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, whole: None }
    }

    /// Adds an entry. When this returns it survives the shim and the machine; only then may anybody be told.
    /// Answers the file's length in bytes.
    ///
    /// # Errors
    /// What the file system answered, or `InvalidData` where the file is not a journal of this version. The entries
    /// before are untouched then, and the call may be repeated.
    pub fn append(&mut self, entry: &ExitEntry) -> io::Result<u64> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let length = file.metadata()?.len();
        let whole = match self.whole {
            Some(whole) if whole <= length => whole,
            // Not looked at yet, or not the file that it was.
            Some(_) | None => whole_length(&self.path)?,
        };
        // Longer: a write that failed half-way, by us (no space) or by a shim that died.
        if length != whole {
            file.set_len(whole)?;
        }
        let is_new = whole == 0;
        let mut bytes = Vec::new();
        if is_new {
            bytes.extend(header());
        }
        encode(entry, &mut bytes);
        self.whole = Some(whole);
        file.write_all(&bytes)?;
        sync(&file, &self.path, is_new)?;
        let whole = whole.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.whole = Some(whole);
        Ok(whole)
    }

    /// Keeps only the entries that `keep` wants; in one step, so that no crash loses another. Answers the length.
    ///
    /// # Errors
    /// As [`Self::append`]; the file is then as it was.
    pub fn compact(&mut self, keep: impl Fn(&ExitEntry) -> bool) -> io::Result<u64> {
        let exits = match read(&self.path) {
            Read::Found(exits) => exits,
            Read::Absent => return Ok(0),
            Read::Corrupt(_, reason) => return Err(invalid(reason)),
        };
        let mut bytes = header().to_vec();
        for entry in exits.entries.iter().filter(|entry| keep(entry)) {
            encode(entry, &mut bytes);
        }
        self.whole = None;
        file::replace(&self.path, &bytes)?;
        let whole = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.whole = Some(whole);
        Ok(whole)
    }
}

fn sync(file: &File, path: &Path, is_new: bool) -> io::Result<()> {
    file.sync_data()?;
    if is_new {
        file::sync_parent(path)?;
    }
    Ok(())
}

/// How many bytes of the file are whole records; zero for a torn header, so that it is written again.
fn whole_length(path: &Path) -> io::Result<u64> {
    match read_bytes(path, MAX_LEN) {
        Read::Absent => Ok(0),
        Read::Corrupt(_, reason) => Err(invalid(reason)),
        Read::Found(bytes) => {
            let (_, torn) = parse(&bytes).map_err(invalid)?;
            Ok(u64::try_from(bytes.len() - torn).unwrap_or(u64::MAX))
        }
    }
}

fn invalid(reason: CorruptReason) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Reads the journal at `path`.
#[must_use]
pub fn read(path: &Path) -> Read<Exits> {
    read_bytes(path, MAX_LEN).and_parse(path, |bytes| {
        let (entries, torn) = parse(&bytes)?;
        let tail = if torn == 0 && !bytes.is_empty() {
            Tail::Whole
        } else {
            Tail::Torn
        };
        Ok(Exits { entries, tail })
    })
}

fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let (magic, version) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    version.copy_from_slice(&VERSION.to_le_bytes());
    header
}

fn encode(entry: &ExitEntry, bytes: &mut Vec<u8>) {
    let mut flags = 0;
    if entry.oom_killed {
        flags |= FLAG_OOM_KILLED;
    }
    if entry.started_at.is_some() {
        flags |= FLAG_STARTED;
    }
    let started_at = entry.started_at.map_or(0, Timestamp::unix_nanos);
    let mut body = Vec::with_capacity(128);
    body.extend(entry.identity.pid.get().to_le_bytes());
    body.extend(entry.identity.start_ticks.to_le_bytes());
    body.extend(entry.identity.boot_id.to_le_bytes());
    body.extend([entry.status.get(), flags]);
    body.extend(entry.exited_at.unix_nanos().to_le_bytes());
    body.extend(started_at.to_le_bytes());
    body.extend(entry.exec.as_ref().map_or("", ExecId::as_str).bytes());
    // An id has 76 bytes at most, so a body is far shorter than its length can say.
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let start = bytes.len();
    bytes.extend(length.to_le_bytes());
    bytes.extend(body);
    let checksum = crc32(bytes.get(start..).unwrap_or_default());
    bytes.extend(checksum.to_le_bytes());
}

/// The entries, and how many bytes at the end belong to none.
fn parse(bytes: &[u8]) -> Result<(Vec<ExitEntry>, usize), CorruptReason> {
    let mut rest = bytes;
    let Some(version) = take::<HEADER_LEN>(&mut rest) else {
        let is_torn_header = header().starts_with(bytes);
        return if is_torn_header {
            Ok((Vec::new(), bytes.len()))
        } else {
            Err(CorruptReason::Foreign)
        };
    };
    let Some(mut version) = version.strip_prefix(MAGIC.as_slice()) else {
        return Err(CorruptReason::Foreign);
    };
    match take(&mut version).map(u32::from_le_bytes) {
        Some(VERSION) => {}
        Some(later) => return Err(CorruptReason::Version(later)),
        None => return Err(CorruptReason::Foreign),
    }
    let mut entries = Vec::new();
    let mut torn = rest.len();
    while let Some(body) = sound_body(&mut rest) {
        let strange = || CorruptReason::Malformed("a record of another kind".to_owned());
        entries.push(decode(body).ok_or_else(strange)?);
        torn = rest.len();
    }
    Ok((entries, torn))
}

/// The body of the record at the start of `bytes`, which is moved past it; `None` where there is no whole, sound one.
fn sound_body<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let record = *bytes;
    let length = usize::from(u16::from_le_bytes(take(bytes)?));
    let (body, after) = bytes.split_at_checked(length)?;
    *bytes = after;
    let checksum = u32::from_le_bytes(take(bytes)?);
    let is_sound = crc32(record.get(..size_of::<u16>() + length)?) == checksum;
    is_sound.then_some(body)
}

/// What a body says; `None` where it is not as [`encode`] makes it.
fn decode(mut body: &[u8]) -> Option<ExitEntry> {
    let identity = ProcessIdentity {
        pid: Pid::new(u32::from_le_bytes(take(&mut body)?))?,
        start_ticks: u64::from_le_bytes(take(&mut body)?),
        boot_id: u128::from_le_bytes(take(&mut body)?),
    };
    let [status, flags] = take(&mut body)?;
    let exited_at = Timestamp::from_unix_nanos(u64::from_le_bytes(take(&mut body)?));
    let started_at = u64::from_le_bytes(take(&mut body)?);
    let is_started = flags & FLAG_STARTED != 0;
    if flags & !(FLAG_OOM_KILLED | FLAG_STARTED) != 0 || (!is_started && started_at != 0) {
        return None;
    }
    let exec = match std::str::from_utf8(body).ok()? {
        "" => None,
        id => Some(ExecId::new(id).ok()?),
    };
    Some(ExitEntry {
        exec,
        identity,
        status: ExitStatus::from_code(status),
        exited_at,
        started_at: is_started.then_some(Timestamp::from_unix_nanos(started_at)),
        oom_killed: flags & FLAG_OOM_KILLED != 0,
    })
}

/// The next `N` bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// CRC-32, bit by bit: a record is a hundred bytes, and a table would be a kilobyte.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let lowest = crc & 1;
            crc = (crc >> 1) ^ (0xEDB8_8320 * lowest);
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
