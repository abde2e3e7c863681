//! A root filesystem that is a directory becomes an image of one layer.
//!
//! The directory is written as a tar stream and unpacked like any other layer; so the copy has what archives can have,
//! and the layer's digest is that of a real archive: the same directory gives the same image.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, PipeWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::stat::{major, minor};
use oci_spec::image::{Arch, Config, ImageConfiguration, Os, RootFs};
use tar::{Builder, EntryType, Header};

use super::described::{Described, this_machine};
use super::digest::Digest;
use super::load::{LoadedImage, Loading};
use super::reference::Reference;
use super::unpack::{OVERLAY_PREFIX, WHITEOUT};
use super::{ImageError, ImageStore};
use crate::sys::xattr;

/// What a container gets that says nothing else, as docker has it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Attributes that belong to this machine and not to the files.
const OF_THIS_MACHINE: [&str; 3] = ["security.selinux", "security.ima", "security.evm"];

/// How long an import waits for another writer.
const PATIENCE: Duration = Duration::from_secs(300);

impl ImageStore {
    /// Makes an image called `name` of the directory `rootfs`: a copy, with owners, modes, times, links, devices and
    /// extended attributes. What is mounted in it is left out, and so are sockets. Its command is `/bin/sh`.
    /// Blocks for long.
    ///
    /// # Errors
    /// [`ImageError`]; the store is as it was then.
    pub fn import_rootfs(&self, rootfs: &Path, name: &str) -> Result<LoadedImage, ImageError> {
        let name = Reference::parse(name)?;
        let failed = |error| ImageError::io("importing", rootfs, error);
        if !fs::metadata(rootfs).map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let rootfs = rootfs.canonicalize().map_err(failed)?;
        self.make_root()?;
        let mut loading = Loading::new(self, PATIENCE)?;
        let (reader, writer) = io::pipe().map_err(failed)?;
        let both = thread::scope(|scope| {
            let archive = thread::Builder::new();
            let archive = archive.spawn_scoped(scope, || write_archive(&rootfs, writer))?;
            let unpacked = loading.unpack("the directory", &[], reader);
            let written = archive.join();
            Ok((
                written.unwrap_or_else(|_| Err(io::Error::other("the archive's writer panicked"))),
                unpacked,
            ))
        });
        let (written, unpacked) = both.map_err(failed)?;
        match written {
            // The other side gave up first, and says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && unpacked.is_err() => {}
            other => other.map_err(failed)?,
        }
        let (unpacked, diff_id) = unpacked?;
        let config = config(&diff_id)?;
        let image = Described {
            names: vec![name],
            digests: Vec::new(),
            id: Digest::of(&config),
            config,
            layers: Vec::new(),
        };
        let (layer, about, counts) = match loading.find(&diff_id, &diff_id) {
            Some((layer, about)) => (layer, about, (0, 1)),
            None => {
                let (layer, about) = loading.keep(unpacked, diff_id.clone(), &diff_id)?;
                (layer, about, (1, 0))
            }
        };
        loading.describe(&image, vec![layer], about.bytes, counts)?;
        let mut loaded = loading.finish()?;
        loaded
            .pop()
            .ok_or_else(|| ImageError::content(rootfs.to_string_lossy(), "nothing was imported"))
    }
}

fn config(diff_id: &Digest) -> Result<Vec<u8>, ImageError> {
    let (os, architecture) = this_machine();
    let mut command = Config::default();
    command.set_env(Some(vec![PATH.to_owned()]));
    command.set_cmd(Some(vec!["/bin/sh".to_owned()]));
    let mut rootfs = RootFs::default();
    rootfs.set_typ("layers".to_owned());
    rootfs.set_diff_ids(vec![diff_id.to_string()]);
    let mut config = ImageConfiguration::default();
    config
        .set_os(Os::from(os))
        .set_architecture(Arch::from(architecture))
        .set_config(Some(command))
        .set_rootfs(rootfs)
        .set_history(None);
    serde_json::to_vec(&config).map_err(|source| ImageError::Json {
        subject: "the configuration".into(),
        source,
    })
}

/// Writes the directory `rootfs` as a tar archive: each directory before what is in it, names in order.
fn write_archive(rootfs: &Path, to: PipeWriter) -> io::Result<()> {
    let mut archive = Archive {
        builder: Builder::new(to),
        linked: HashMap::new(),
    };
    let device = fs::symlink_metadata(rootfs)?.dev();
    let mut ahead = vec![PathBuf::new()];
    while let Some(name) = ahead.pop() {
        let path = rootfs.join(&name);
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{path:?}: {error}"));
        let metadata = fs::symlink_metadata(&path).map_err(at)?;
        archive.add(&path, &name, &metadata).map_err(at)?;
        if metadata.is_dir() && metadata.dev() == device {
            let entries = fs::read_dir(&path).map_err(at)?;
            let names = entries.map(|entry| Ok(name.join(entry?.file_name())));
            let mut names = names.collect::<io::Result<Vec<_>>>().map_err(at)?;
            // The last one is taken first.
            names.sort_unstable_by(|one, other| other.cmp(one));
            ahead.extend(names);
        }
    }
    archive.builder.into_inner()?.flush()
}

struct Archive {
    builder: Builder<PipeWriter>,
    /// The first name of each file that has more than one.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Archive {
    fn add(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
        let file_type = metadata.file_type();
        if file_type.is_socket() {
            return Ok(());
        }
        let last = name.file_name().unwrap_or_default();
        if last.as_bytes().starts_with(WHITEOUT) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a name with .wh. at its beginning would remove another one in an image",
            ));
        }
        let mut header = Header::new_gnu();
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        header.set_size(0);
        let shown = if name.as_os_str().is_empty() {
            b"./"
        } else {
            name.as_os_str().as_bytes()
        };
        let mut records = vec![
            ("path".to_owned(), shown.to_vec()),
            ("mtime".to_owned(), time(metadata).into_bytes()),
        ];
        let first = (!metadata.is_dir() && metadata.nlink() > 1)
            .then(|| (metadata.dev(), metadata.ino()))
            .and_then(|file| match self.linked.get(&file) {
                Some(first) => Some(first.clone()),
                None => {
                    self.linked.insert(file, name.to_owned());
                    None
                }
            });
        if let Some(first) = first {
            records.push(("linkpath".to_owned(), first.into_os_string().into_vec()));
            header.set_entry_type(EntryType::Link);
            return self.write(&mut header, &records, io::empty());
        }
        records.extend(xattr_records(path)?);
        if file_type.is_file() {
            header.set_entry_type(EntryType::Regular);
            header.set_size(metadata.size());
            let file = fs::OpenOptions::new()
                .read(true)
                .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
                .open(path)?;
            let content = Exact {
                file,
                left: metadata.size(),
            };
            return self.write(&mut header, &records, content);
        }
        if file_type.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(path)?.into_os_string().into_vec();
            records.push(("linkpath".to_owned(), target));
        } else if file_type.is_dir() {
            header.set_entry_type(EntryType::Directory);
        } else if file_type.is_fifo() {
            header.set_entry_type(EntryType::Fifo);
        } else {
            header.set_entry_type(if file_type.is_char_device() {
                EntryType::Char
            } else {
                EntryType::Block
            });
            let number = |number: u64| u32::try_from(number).map_err(io::Error::other);
            header.set_device_major(number(major(metadata.rdev()))?)?;
            header.set_device_minor(number(minor(metadata.rdev()))?)?;
        }
        self.write(&mut header, &records, io::empty())
    }

    fn write(
        &mut self,
        header: &mut Header,
        records: &[(String, Vec<u8>)],
        content: impl Read,
    ) -> io::Result<()> {
        let records = records
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(records)?;
        header.set_mtime(0);
        header.set_cksum();
        self.builder.append(header, content)
    }
}

fn xattr_records(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut records = Vec::new();
    let mut names = xattr::list(path)?;
    names.sort_unstable();
    for name in names {
        let Some(text) = name.to_str() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the name of an extended attribute is not UTF-8",
            ));
        };
        if text.starts_with(OVERLAY_PREFIX) || OF_THIS_MACHINE.contains(&text) {
            continue;
        }
        if let Some(value) = xattr::get(path, &name)? {
            records.push((format!("SCHILY.xattr.{text}"), value));
        }
    }
    Ok(records)
}

/// Seconds with a fraction, as pax(1) writes them.
fn time(metadata: &Metadata) -> String {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    if seconds < 0 && nanoseconds > 0 {
        let (whole, rest) = ((seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds);
        return format!("-{whole}.{rest:09}");
    }
    format!("{seconds}.{nanoseconds:09}")
}

/// As many bytes of a file as its header says: a file that changes meanwhile fails the import.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter while it was read",
            ));
        }
        self.left -= u64::try_from(count).unwrap_or(self.left);
        Ok(count)
    }
}
