//! One mount under way: which calls it takes, by type and options.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, ResolveFlag};
use nix::mount::MsFlags;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::detached::{self, Depth};
use super::options::{self, Options};
use super::target::{self, Target};
use super::unmount::{self, IDMAPPED, remove_directories};
use super::{MountError, Step, overlay};
use crate::sys::loopdev::{self, Access};
use crate::sys::userns;
use crate::types::Mount;

/// One mount under way.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    /// What to mount.
    pub mount: &'a Mount,
    /// Below what.
    pub rootfs: &'a Path,
}

impl Job<'_> {
    /// All of it.
    ///
    /// # Errors
    /// As [`super::mount`].
    pub fn run(&self) -> Result<(), MountError> {
        let options = Options::parse(&self.mount.kind, &self.mount.options)?;
        let target = self.step(
            Step::Target,
            Target::find_or_make(self.rootfs, &self.mount.target),
        )?;
        let userns = options.id_maps.as_ref().map(userns::create).transpose();
        let userns = self.step(Step::UserNamespace, userns)?;
        let is_bind = options.flags.contains(MsFlags::MS_BIND)
            && !options.flags.contains(MsFlags::MS_REMOUNT);
        match userns {
            None if self.mount.kind == "overlay" => {
                self.overlay(&options, &options.data, &target)?
            }
            None => self.filesystem(&options, &target)?,
            Some(userns) if is_bind => self.idmapped_bind(&options, &target, userns.as_fd())?,
            Some(userns) if self.mount.kind == "overlay" => {
                self.idmapped_overlay(&options, &target, userns.as_fd())?
            }
            Some(userns) => {
                self.filesystem(&options, &target)?;
                let place =
                    self.step(Step::Target, Target::find(self.rootfs, &self.mount.target))?;
                // Over the one without a mapping, as containerd does it.
                self.attach_idmapped(place.as_fd(), Depth::One, &place, userns.as_fd())?;
            }
        }
        if is_bind {
            self.bind_flags(&options)?;
        }
        self.propagation(&options)
    }

    /// `error` with the step at which it came.
    pub fn failed(&self, step: Step, error: io::Error) -> MountError {
        MountError::Step {
            step,
            from: self.mount.source.clone(),
            target: self.shown_target(),
            error,
        }
    }

    fn step<T>(&self, step: Step, result: io::Result<T>) -> Result<T, MountError> {
        result.map_err(|error| self.failed(step, error))
    }

    /// The target for people to read.
    fn shown_target(&self) -> PathBuf {
        self.rootfs.join(self.mount.target.trim_start_matches('/'))
    }

    /// A mount of any type but overlay, from a loop device where the source is an image.
    fn filesystem(&self, options: &Options, target: &Target) -> Result<(), MountError> {
        let Some(image_io) = options.image else {
            return self.call(&self.mount.source, options, &options.data, target, None);
        };
        let read_only = options.flags.contains(MsFlags::MS_RDONLY);
        let access = if read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        let device = loopdev::attach(Path::new(&self.mount.source), access, image_io);
        let device = self.step(Step::Loop, device)?;
        self.call(
            &device.path.to_string_lossy(),
            options,
            &options.data,
            target,
            None,
        )
    }

    /// An overlay, with relative lower directories where absolute ones are too long.
    fn overlay(
        &self,
        options: &Options,
        data: &[String],
        target: &Target,
    ) -> Result<(), MountError> {
        let compacted = (length(data) > overlay::LONGEST_DATA)
            .then(|| overlay::compact(data))
            .flatten();
        match compacted {
            None => self.call(&self.mount.source, options, data, target, None),
            Some((from, data)) => {
                self.call(&self.mount.source, options, &data, target, Some(&from))
            }
        }
    }

    /// mount(2), in the working directory `from` where there is one.
    fn call(
        &self,
        source: &str,
        options: &Options,
        data: &[String],
        target: &Target,
        from: Option<&Path>,
    ) -> Result<(), MountError> {
        let length = length(data);
        if length > overlay::LONGEST_DATA {
            return Err(MountError::OptionsTooLong {
                target: self.shown_target(),
                length,
            });
        }
        let data = Some(data.join(",")).filter(|data| !data.is_empty());
        let kind = Some(self.mount.kind.as_str()).filter(|kind| !kind.is_empty());
        let target = target.as_path();
        let call = || {
            let mounted =
                nix::mount::mount(Some(source), &target, kind, options.flags, data.as_deref());
            mounted.map_err(io::Error::from)
        };
        let result = from.map_or_else(call, |directory| overlay::in_directory(directory, call));
        self.step(Step::Mount, result)
    }

    /// A bind mount that is mapped before anybody can see it.
    fn idmapped_bind(
        &self,
        options: &Options,
        target: &Target,
        userns: BorrowedFd<'_>,
    ) -> Result<(), MountError> {
        let source = self.step(Step::Mount, open(Path::new(&self.mount.source)))?;
        let recursive = options.flags.contains(MsFlags::MS_REC);
        let depth = if recursive { Depth::Whole } else { Depth::One };
        self.attach_idmapped(source.as_fd(), depth, target, userns)
    }

    fn attach_idmapped(
        &self,
        source: BorrowedFd<'_>,
        depth: Depth,
        target: &Target,
        userns: BorrowedFd<'_>,
    ) -> Result<(), MountError> {
        let tree = self.step(Step::IdMap, detached::idmapped(source, depth, userns))?;
        self.step(Step::IdMap, detached::attach(tree.as_fd(), target.as_fd()))
    }

    /// An overlay over mapped copies of its lower directories. It holds private copies of their mounts, so that these
    /// need a place in the tree for the length of one call only.
    fn idmapped_overlay(
        &self,
        options: &Options,
        target: &Target,
        userns: BorrowedFd<'_>,
    ) -> Result<(), MountError> {
        let lowerdirs = overlay::lowerdirs(&options.data).ok_or_else(|| {
            options::bad("uidmap", "an overlay without lowerdir has nothing to map")
        })?;
        let directory = self.rootfs.with_file_name(IDMAPPED);
        let mounted = self
            .step(Step::IdMap, map_lowerdirs(&lowerdirs, &directory, userns))
            .and_then(|mapped| {
                self.overlay(
                    options,
                    &overlay::with_lowerdirs(&options.data, &mapped),
                    target,
                )
            });
        let removed = self.step(Step::IdMap, unmap_lowerdirs(&directory));
        mounted.and(removed)
    }

    fn bind_flags(&self, options: &Options) -> Result<(), MountError> {
        let place = self.step(Step::Target, Target::find(self.rootfs, &self.mount.target))?;
        let current = self.step(Step::Remount, current_flags(place.as_fd()))?;
        let Some(flags) = options.bind_remount(current) else {
            return Ok(());
        };
        self.step(Step::Remount, change(&place, flags))
    }

    fn propagation(&self, options: &Options) -> Result<(), MountError> {
        if options.propagation.is_empty() {
            return Ok(());
        }
        let place = self.step(Step::Target, Target::find(self.rootfs, &self.mount.target))?;
        let changes = options
            .propagation
            .iter()
            .try_for_each(|&flags| change(&place, flags));
        self.step(Step::Propagation, changes)
    }
}

/// Bytes of the options as mount(2) gets them: with a comma between two.
fn length(data: &[String]) -> usize {
    data.iter()
        .map(|option| option.len() + 1)
        .sum::<usize>()
        .saturating_sub(1)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(target::resolve(AT_FDCWD, path, ResolveFlag::empty())?)
}

fn change(place: &Target, flags: MsFlags) -> io::Result<()> {
    let none = None::<&str>;
    Ok(nix::mount::mount(
        none,
        &place.as_path(),
        none,
        flags,
        none,
    )?)
}

/// Mounts each lower directory, mapped, on `directory`/N and answers the new option parts.
fn map_lowerdirs(
    lowerdirs: &[&str],
    directory: &Path,
    userns: BorrowedFd<'_>,
) -> io::Result<Vec<String>> {
    // What a killed predecessor left.
    unmap_lowerdirs(directory)?;
    fs::create_dir(directory)?;
    let directory = fs::canonicalize(directory)?;
    let map = |(number, part): (usize, &&str)| {
        if part.is_empty() {
            return Ok(String::new());
        }
        let source = open(&overlay::unescape(part))?;
        let tree = detached::idmapped(source.as_fd(), Depth::One, userns)?;
        let place = directory.join(number.to_string());
        fs::create_dir(&place)?;
        detached::attach(tree.as_fd(), open(&place)?.as_fd())?;
        Ok(overlay::escape(&place.to_string_lossy()))
    };
    lowerdirs.iter().enumerate().map(map).collect()
}

fn unmap_lowerdirs(directory: &Path) -> io::Result<()> {
    let directory = match fs::canonicalize(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let failures = unmount::below(std::slice::from_ref(&directory))?;
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure.error);
    }
    remove_directories(&directory).map_err(|failure| failure.error)
}

/// The flags of the mount at `place`, as mount(2) takes them.
fn current_flags(place: BorrowedFd<'_>) -> io::Result<MsFlags> {
    let flags = fstatvfs(place)?.flags();
    let pairs = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let set = pairs
        .into_iter()
        .filter(|&(from, _)| flags.contains(from))
        .map(|(_, to)| to);
    Ok(set.collect())
}
