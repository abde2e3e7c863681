//! The lower directories of an overlay: taken apart, replaced, and made short enough for mount(2).
//!
//! overlayfs(5): `lowerdir=A:B::C`, where a backslash makes the next character an ordinary one.

use std::io;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};

/// mount(2) copies one page of options, the last byte of which is the terminating 0.
pub(super) const LONGEST_DATA: usize = 4095;

/// The option's name, with what parts it from its value.
const LOWERDIR: &str = "lowerdir=";

/// The lower directories among `data`, as they were written; `None` where the option is missing.
pub(super) fn lowerdirs(data: &[String]) -> Option<Vec<&str>> {
    let value = data
        .iter()
        .find_map(|option| option.strip_prefix(LOWERDIR))?;
    Some(split(value))
}

/// `data` with other lower directories.
pub(super) fn with_lowerdirs(data: &[String], lowerdirs: &[String]) -> Vec<String> {
    let replaced = data.iter().map(|option| {
        if option.starts_with(LOWERDIR) {
            format!("{LOWERDIR}{}", lowerdirs.join(":"))
        } else {
            option.clone()
        }
    });
    replaced.collect()
}

/// At every colon without a backslash before it; `::` gives an empty part, and so survives joining.
fn split(value: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b':' => {
                parts.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[start..]);
    parts
}

/// The path that an option's part stands for.
pub(super) fn unescape(part: &str) -> PathBuf {
    let mut path = String::with_capacity(part.len());
    let mut characters = part.chars();
    while let Some(character) = characters.next() {
        path.push(if character == '\\' {
            characters.next().unwrap_or('\\')
        } else {
            character
        });
    }
    PathBuf::from(path)
}

/// How a path is written as a part of an overlay's option (`lowerdir=A:B`, `upperdir=C`).
#[must_use]
pub fn escape(path: &str) -> String {
    let mut part = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '\\' | ':' | ',') {
            part.push('\\');
        }
        part.push(character);
    }
    part
}

/// `data` with lower directories relative to their longest common parent, and that directory.
/// `None` where there is nothing to gain: no lower directories, or relative ones.
pub(super) fn compact(data: &[String]) -> Option<(PathBuf, Vec<String>)> {
    let lowerdirs = lowerdirs(data)?;
    let real = || {
        lowerdirs
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| trimmed(part))
    };
    let mut parent = real().next()?;
    if !real().all(|part| part.starts_with('/')) {
        return None;
    }
    loop {
        // Ends at the empty string, which stands for the root and is the beginning of all.
        parent = parent.rsplit_once('/').map_or("", |(above, _)| above);
        if real().all(|part| below(part, parent).is_some()) {
            break;
        }
    }
    let relative = lowerdirs
        .iter()
        .map(|part| below(trimmed(part), parent).unwrap_or_default().to_owned())
        .collect::<Vec<_>>();
    let directory = if parent.is_empty() {
        PathBuf::from("/")
    } else {
        unescape(parent)
    };
    Some((directory, with_lowerdirs(data, &relative)))
}

fn trimmed(part: &str) -> &str {
    part.trim_end_matches('/')
}

/// What follows `parent` and its slashes in `part`, where that is anything.
fn below<'a>(part: &'a str, parent: &str) -> Option<&'a str> {
    let rest = part
        .strip_prefix(parent)?
        .strip_prefix('/')?
        .trim_start_matches('/');
    (!rest.is_empty()).then_some(rest)
}

/// Runs `call` with `directory` as its working directory, on a thread of its own: the working directory of the shim
/// stays what it is, and the thread is gone when this returns.
///
/// # Errors
/// What starting the thread, unshare(2), chdir(2) or `call` answered.
pub(super) fn in_directory(
    directory: &Path,
    call: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<()> {
    let apart = || {
        unshare(CloneFlags::CLONE_FS)?;
        nix::unistd::chdir(directory)?;
        call()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(THREAD_STACK)
            .spawn_scoped(scope, apart)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    })
}

/// Bytes; enough for three system calls, where the default of 2 MiB would stay cached.
const THREAD_STACK: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn data(lowerdir: &str) -> Vec<String> {
        vec![
            "index=off".into(),
            format!("lowerdir={lowerdir}"),
            "upperdir=/u".into(),
        ]
    }

    #[test]
    fn a_colon_parts_directories_unless_it_is_escaped() {
        assert_eq!(split(r"/a:/b\:c:/d\\:/e"), ["/a", r"/b\:c", r"/d\\", "/e"]);
        assert_eq!(split("/a::/data"), ["/a", "", "/data"]);
        assert_eq!(unescape(r"/b\:c\\\,"), Path::new(r"/b:c\,"));
        assert_eq!(unescape(&escape(r"/b:c\,")), Path::new(r"/b:c\,"));
    }

    #[test]
    fn lower_directories_become_relative_to_their_longest_common_parent() {
        let (directory, short) = compact(&data("/s/snapshots/12/fs:/s/snapshots/1/fs")).unwrap();
        assert_eq!(directory, Path::new("/s/snapshots"));
        assert_eq!(short, ["index=off", "lowerdir=12/fs:1/fs", "upperdir=/u"]);
    }

    #[test]
    fn one_directory_inside_another_keeps_both_names() {
        let (directory, short) = compact(&data("/s/a/b/:/s/a:/s//a/c")).unwrap();
        assert_eq!(directory, Path::new("/s"));
        assert_eq!(short[1], "lowerdir=a/b:a:a/c");
    }

    #[test]
    fn directories_with_nothing_in_common_are_relative_to_the_root() {
        let (directory, short) = compact(&data("/a:/b::/c")).unwrap();
        assert_eq!(
            (directory.as_path(), short[1].as_str()),
            (Path::new("/"), "lowerdir=a:b::c")
        );
    }

    #[test]
    fn an_escaped_common_parent_is_entered_by_its_real_name() {
        let (directory, short) = compact(&data(r"/s\:t/1:/s\:t/2")).unwrap();
        assert_eq!(
            (directory.as_path(), short[1].as_str()),
            (Path::new("/s:t"), "lowerdir=1:2")
        );
    }

    #[test]
    fn relative_or_missing_directories_are_left_alone() {
        assert_eq!(compact(&data("a:/b")), None);
        assert_eq!(compact(&data("")), None);
        assert_eq!(compact(&data("/")), None);
        assert_eq!(compact(&["size=1k".to_owned()]), None);
    }
}
