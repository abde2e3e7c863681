//! Mount options: from the words of mount(8) to what mount(2) takes. Pure.
//!
//! The words are those of containerd (`core/mount/mount_linux.go`, `parseMountOptions`), and those for propagation,
//! which it leaves to the filesystem. A word that is not known here belongs to the filesystem too, as for containerd.

use nix::mount::MsFlags;

use super::MountError;
use crate::sys::loopdev::ImageIo;
use crate::sys::userns::{IdMaps, IdRange};

/// The options of one mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Flags to set.
    pub flags: MsFlags,
    /// Flags that were cleared by name (`suid`, `rw`), so that a bind mount does not take them over from its source.
    pub cleared: MsFlags,
    /// Propagation types, each to be set by a call of its own, in this order.
    pub propagation: Vec<MsFlags>,
    /// Whether the source is an image file, and how it is read.
    pub image: Option<ImageIo>,
    /// Id mappings, where there are any.
    pub id_maps: Option<IdMaps>,
    /// What is left for the filesystem.
    pub data: Vec<String>,
}

enum Effect {
    Set(MsFlags),
    Clear(MsFlags),
    Propagate(MsFlags),
}

fn effect(word: &str) -> Option<Effect> {
    use Effect::{Clear, Propagate, Set};
    const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW);
    Some(match word {
        "defaults" => Set(MsFlags::empty()),
        "ro" => Set(MsFlags::MS_RDONLY),
        "rw" => Clear(MsFlags::MS_RDONLY),
        "nosuid" => Set(MsFlags::MS_NOSUID),
        "suid" => Clear(MsFlags::MS_NOSUID),
        "nodev" => Set(MsFlags::MS_NODEV),
        "dev" => Clear(MsFlags::MS_NODEV),
        "noexec" => Set(MsFlags::MS_NOEXEC),
        "exec" => Clear(MsFlags::MS_NOEXEC),
        "sync" => Set(MsFlags::MS_SYNCHRONOUS),
        "async" => Clear(MsFlags::MS_SYNCHRONOUS),
        "dirsync" => Set(MsFlags::MS_DIRSYNC),
        "remount" => Set(MsFlags::MS_REMOUNT),
        "mand" => Set(MsFlags::MS_MANDLOCK),
        "nomand" => Clear(MsFlags::MS_MANDLOCK),
        "noatime" => Set(MsFlags::MS_NOATIME),
        "atime" => Clear(MsFlags::MS_NOATIME),
        "nodiratime" => Set(MsFlags::MS_NODIRATIME),
        "diratime" => Clear(MsFlags::MS_NODIRATIME),
        "relatime" => Set(MsFlags::MS_RELATIME),
        "norelatime" => Clear(MsFlags::MS_RELATIME),
        "strictatime" => Set(MsFlags::MS_STRICTATIME),
        "nostrictatime" => Clear(MsFlags::MS_STRICTATIME),
        "nosymfollow" => Set(NOSYMFOLLOW),
        "symfollow" => Clear(NOSYMFOLLOW),
        "bind" => Set(MsFlags::MS_BIND),
        "rbind" => Set(MsFlags::MS_BIND.union(MsFlags::MS_REC)),
        "private" => Propagate(MsFlags::MS_PRIVATE),
        "rprivate" => Propagate(MsFlags::MS_PRIVATE.union(MsFlags::MS_REC)),
        "shared" => Propagate(MsFlags::MS_SHARED),
        "rshared" => Propagate(MsFlags::MS_SHARED.union(MsFlags::MS_REC)),
        "slave" => Propagate(MsFlags::MS_SLAVE),
        "rslave" => Propagate(MsFlags::MS_SLAVE.union(MsFlags::MS_REC)),
        "unbindable" => Propagate(MsFlags::MS_UNBINDABLE),
        "runbindable" => Propagate(MsFlags::MS_UNBINDABLE.union(MsFlags::MS_REC)),
        _ => return None,
    })
}

impl Options {
    /// Reads the options of a mount of type `kind`.
    ///
    /// # Errors
    /// [`MountError::BadOption`] for id mappings that are malformed, or of which only one was given.
    pub fn parse(kind: &str, words: &[String]) -> Result<Self, MountError> {
        let mut options = Self {
            flags: MsFlags::empty(),
            cleared: MsFlags::empty(),
            propagation: Vec::new(),
            image: None,
            id_maps: None,
            data: Vec::new(),
        };
        let (mut uids, mut gids) = (None, None);
        for word in words.iter().filter(|word| !word.is_empty()) {
            match effect(word) {
                Some(Effect::Set(flags)) => {
                    options.flags |= flags;
                    options.cleared -= flags;
                }
                Some(Effect::Clear(flags)) => {
                    options.flags -= flags;
                    options.cleared |= flags;
                }
                Some(Effect::Propagate(flags)) => options.propagation.push(flags),
                None if word == "loop" => options.image = Some(ImageIo::Cached),
                None if word.starts_with("uidmap=") => uids = Some(id_ranges(word)?),
                None if word.starts_with("gidmap=") => gids = Some(id_ranges(word)?),
                None => options.data.push(word.clone()),
            }
        }
        options.id_maps = match (uids, gids) {
            (Some(uids), Some(gids)) => Some(IdMaps { uids, gids }),
            (None, None) => None,
            (Some(_), None) => return Err(bad("uidmap", "needs a gidmap beside it")),
            (None, Some(_)) => return Err(bad("gidmap", "needs a uidmap beside it")),
        };
        // A word of loop(4) only beside `loop`; any other filesystem may have one of the same name.
        if options.image.is_some() && options.data.iter().any(|word| word == "direct-io") {
            options.data.retain(|word| word != "direct-io");
            options.image = Some(ImageIo::Direct);
        }
        // As the OCI runtimes do it: the type alone says it, even where no option does.
        if kind == "bind" {
            options.flags |= MsFlags::MS_BIND;
        }
        Ok(options)
    }

    /// The flags with which a bind mount that has `current` ones has to be mounted once more, where it has to be:
    /// mount(2) takes no flags along when it makes one, and drops those that a remount leaves out. Words that only
    /// clear flags (`rw`) are no reason: containerd writes them without wanting more than the source allows.
    pub fn bind_remount(&self, current: MsFlags) -> Option<MsFlags> {
        let wanted = self.flags & PER_MOUNT;
        if wanted.is_empty() {
            return None;
        }
        let mut kept = current & PER_MOUNT & !self.cleared;
        if wanted.intersects(ATIME) {
            kept -= ATIME;
        }
        Some(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | wanted | kept)
    }
}

/// Exactly one of these holds for a mount.
const ATIME: MsFlags = MsFlags::MS_NOATIME
    .union(MsFlags::MS_RELATIME)
    .union(MsFlags::MS_STRICTATIME);

/// The flags that belong to a mount, not to its filesystem.
const PER_MOUNT: MsFlags = ATIME
    .union(MsFlags::MS_RDONLY)
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_NODIRATIME)
    .union(MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW));

/// `uidmap=INSIDE:OUTSIDE:COUNT[,INSIDE:OUTSIDE:COUNT...]`
fn id_ranges(word: &str) -> Result<Vec<IdRange>, MountError> {
    let (_, value) = word.split_once('=').unwrap_or_default();
    value
        .split(',')
        .map(|range| id_range(word, range))
        .collect()
}

fn id_range(word: &str, range: &str) -> Result<IdRange, MountError> {
    let numbers = range
        .split(':')
        .map(str::parse)
        .collect::<Result<Vec<u32>, _>>()
        .map_err(|_| bad(word, "an id or a count is not a 32-bit number"))?;
    let &[inside, outside, count] = numbers.as_slice() else {
        return Err(bad(word, "a range is INSIDE:OUTSIDE:COUNT"));
    };
    let fits = |first: u32| first.checked_add(count).is_some();
    if count == 0 || !fits(inside) || !fits(outside) {
        return Err(bad(word, "a range is empty or goes past the last id"));
    }
    Ok(IdRange {
        inside,
        outside,
        count,
    })
}

/// A refusal of the option `word`.
pub(super) fn bad(word: &str, reason: &'static str) -> MountError {
    MountError::BadOption {
        option: word.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, MountError> {
        let words = words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>();
        Options::parse("", &words)
    }

    #[test]
    fn the_last_of_two_opposite_words_wins() {
        assert_eq!(parse(&["ro", "rw"]).unwrap().flags, MsFlags::empty());
        assert_eq!(parse(&["rw", "ro"]).unwrap().flags, MsFlags::MS_RDONLY);
        let options = parse(&["nosuid", "noexec", "suid"]).unwrap();
        assert_eq!(
            (options.flags, options.cleared),
            (MsFlags::MS_NOEXEC, MsFlags::MS_NOSUID)
        );
    }

    #[test]
    fn propagation_is_kept_apart_and_in_order() {
        let options = parse(&["rbind", "rslave", "shared"]).unwrap();
        assert_eq!(options.flags, MsFlags::MS_BIND | MsFlags::MS_REC);
        let expected = [MsFlags::MS_SLAVE | MsFlags::MS_REC, MsFlags::MS_SHARED];
        assert_eq!(options.propagation, expected);
    }

    #[test]
    fn what_is_not_known_is_for_the_filesystem() {
        let options = parse(&["size=4k", "", "direct-io", "lowerdir=/a:/b", "roo"]).unwrap();
        assert_eq!(
            options.data,
            ["size=4k", "direct-io", "lowerdir=/a:/b", "roo"]
        );
        assert_eq!(options.image, None);
    }

    #[test]
    fn direct_io_belongs_to_the_loop_device_where_there_is_one() {
        let options = parse(&["direct-io", "loop", "errors=continue"]).unwrap();
        assert_eq!(options.image, Some(ImageIo::Direct));
        assert_eq!(options.data, ["errors=continue"]);
    }

    #[test]
    fn id_mappings_have_several_ranges() {
        let options = parse(&["uidmap=0:100000:65536,65536:5:1", "gidmap=0:7:1"]).unwrap();
        let maps = options.id_maps.unwrap();
        let second = IdRange {
            inside: 65536,
            outside: 5,
            count: 1,
        };
        assert_eq!(maps.uids[1], second);
        assert_eq!(
            maps.gids,
            [IdRange {
                inside: 0,
                outside: 7,
                count: 1
            }]
        );
    }

    #[test]
    fn a_bad_mapping_is_refused_with_its_option() {
        for value in [
            "",
            "0",
            "0:1",
            "0:1:2:3",
            "a:1:2",
            "-1:0:1",
            "0:0:0",
            "0:4294967295:2",
            "0:0:1,",
            "1: 2:3",
        ] {
            let word = format!("uidmap={value}");
            match parse(&[&word, "gidmap=0:0:1"]) {
                Err(MountError::BadOption { option, .. }) => assert_eq!(option, word),
                other => panic!("{word}: {other:?}"),
            }
        }
        assert!(matches!(
            parse(&["uidmap=0:1:1"]),
            Err(MountError::BadOption { .. })
        ));
    }

    #[test]
    fn a_bind_mount_is_mounted_again_only_for_flags_and_keeps_those_of_its_source() {
        assert_eq!(
            parse(&["bind", "rw"])
                .unwrap()
                .bind_remount(MsFlags::MS_NOSUID),
            None
        );
        let again = parse(&["bind", "ro", "dev"]).unwrap();
        let current = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RELATIME;
        let expected = MsFlags::MS_BIND
            | MsFlags::MS_REMOUNT
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_RELATIME;
        assert_eq!(again.bind_remount(current), Some(expected));
        let noatime = parse(&["bind", "noatime"])
            .unwrap()
            .bind_remount(current)
            .unwrap();
        assert!(!noatime.contains(MsFlags::MS_RELATIME), "{noatime:?}");
    }

    #[test]
    fn the_type_bind_needs_no_option() {
        assert_eq!(Options::parse("bind", &[]).unwrap().flags, MsFlags::MS_BIND);
    }
}
