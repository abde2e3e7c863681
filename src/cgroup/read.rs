//! Reading control files: bounded, absence told from failure, and the few forms of text that they come in.

use std::io;
use std::path::Path;

use super::CgroupError;
use crate::sys::file;

/// Longer than any statistics file: the per-cpu ones grow with the machine, about 20 bytes a cpu.
const MAX_LEN: u64 = 1 << 20;

/// Whether the error says that the file, the group, or the feature behind the file is not there: ENOENT; ENODEV from
/// an open file of a removed group; EOPNOTSUPP from pressure files when the kernel was booted with `psi=0`, and from
/// `cgroup.procs` of a threaded group.
pub fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)
    )
}

/// The text of `dir/name`; `None` where there is no such file.
pub fn text(dir: &Path, name: &str) -> Result<Option<String>, CgroupError> {
    let path = dir.join(name);
    match file::read_bounded(&path, MAX_LEN) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_absence(&error) => Ok(None),
        Err(source) => Err(CgroupError::Read { path, source }),
    }
}

/// The number in `dir/name`, with `max` for the word "max".
pub fn number_in(dir: &Path, name: &str, max: u64) -> Result<Option<u64>, CgroupError> {
    Ok(text(dir, name)?.and_then(|text| number(&text, max)))
}

/// A number, with `max` for the word "max". A negative one is 0, as containerd reads it: counters of the kernel may
/// fall below zero for a moment.
pub fn number(text: &str, max: u64) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix('-') {
        _ if text == "max" => Some(max),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(0)
        }
        Some(_) | None => text.parse().ok(),
    }
}

/// The lines `key value` of a flat keyed file; other lines are skipped.
pub fn keyed(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(key), Some(value), None) => Some((key, number(value, u64::MAX)?)),
            _ => None,
        }
    })
}

/// The value of `key` in a flat keyed file.
pub fn value(text: &str, key: &str) -> Option<u64> {
    keyed(text).find_map(|(found, value)| (found == key).then_some(value))
}

/// One line of `rdma.current` or `rdma.max`: `mlx5_0 hca_handle=2 hca_object=max` (`admin-guide/cgroup-v1/rdma.rst`).
#[derive(Debug, PartialEq, Eq)]
pub struct Rdma<'text> {
    /// The device's name.
    pub device: &'text str,
    /// Handles; `u32::MAX` for no limit.
    pub hca_handles: u32,
    /// Objects; `u32::MAX` for no limit.
    pub hca_objects: u32,
}

/// The lines of an rdma file.
pub fn rdma(text: &str) -> impl Iterator<Item = Rdma<'_>> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let mut entry = Rdma {
            device: words.next()?,
            hca_handles: 0,
            hca_objects: 0,
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = number(value, u32::MAX.into()).unwrap_or(0);
            let value = u32::try_from(value).unwrap_or(u32::MAX);
            match key {
                "hca_handle" => entry.hca_handles = value,
                "hca_object" => entry.hca_objects = value,
                _ => {}
            }
        }
        Some(entry)
    })
}

/// The huge page sizes that `dir` has files for, like `2MB`, from the smallest name to the largest. `suffix` is the
/// file that each of them has; the `hugetlb.2MB.rsvd.*` files are of reservations, not of a size.
pub fn huge_page_sizes(dir: &Path, suffix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut sizes: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let size = name
                .to_str()?
                .strip_prefix("hugetlb.")?
                .strip_suffix(suffix)?
                .strip_suffix('.')?;
            (!size.contains('.')).then(|| size.to_owned())
        })
        .collect();
    sizes.sort_unstable();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_containerd_reads_them() {
        assert_eq!(number("42\n", 0), Some(42));
        assert_eq!(number("max\n", u64::MAX), Some(u64::MAX));
        assert_eq!(number("-3", 9), Some(0));
        assert_eq!(number("-99999999999999999999999", 9), Some(0));
        assert_eq!(number("18446744073709551615", 0), Some(u64::MAX));
        for bad in ["", "-", "x", "1 2", "18446744073709551616", "-1x"] {
            assert_eq!(number(bad, 0), None, "{bad:?}");
        }
    }

    #[test]
    fn lines_that_are_no_pair_are_skipped() {
        let text = "a 1\n\nb\nc 2 3\nd x\ne 5";
        assert_eq!(keyed(text).collect::<Vec<_>>(), [("a", 1), ("e", 5)]);
    }

    #[test]
    fn rdma_limits_are_read_by_device() {
        let text = "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\n";
        let entry = |device, hca_handles, hca_objects| Rdma {
            device,
            hca_handles,
            hca_objects,
        };
        assert_eq!(
            rdma(text).collect::<Vec<_>>(),
            [entry("mlx4_0", 2, 2000), entry("ocrdma1", 3, u32::MAX)]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(\\PC|\n| |=|:){0,200}") {
            let _count = keyed(&text).count() + rdma(&text).count();
            let _number = number(&text, 0);
        }
    }
}
