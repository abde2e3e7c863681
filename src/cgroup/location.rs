//! Where a process's cgroups are: `/proc/PID/cgroup` says which, `/proc/self/mountinfo` where they are mounted.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Component, Path, PathBuf};

use super::v1::V1;
use super::v2::V2;
use super::{Cgroup, CgroupError, Mode, Roots, read};
use crate::types::Pid;

/// `PF_EXITING` of the kernel's `include/linux/sched.h`, in field 9 of `/proc/PID/stat`.
const PF_EXITING: u64 = 0x4;

/// A mounted version 1 hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers; several where they are mounted together (`cpu,cpuacct`), `name=...` for one without any.
    pub controllers: Vec<Box<str>>,
    /// Which of its groups is the root of the mount: not `/` within a container that sees its host's hierarchy.
    pub mount_root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
}

/// See [`Cgroup::of_process`].
pub fn of_process(roots: &Roots, pid: Pid) -> Result<Cgroup, CgroupError> {
    let own = roots.proc.join(pid.to_string());
    let text = match fs::read_to_string(own.join("cgroup")) {
        Ok(text) => text,
        Err(error) if is_process_gone(&error) => return Err(CgroupError::Gone),
        Err(source) => {
            let path = own.join("cgroup");
            return Err(CgroupError::Read { path, source });
        }
    };
    match roots.mode() {
        Mode::V2 => v2_of(roots, pid, &text),
        Mode::V1 => {
            // Asked after the reading: a process that is not dying now was not dying then.
            let dying = is_dying(&own.join("stat"));
            v1_of(roots, pid, &text, dying)
        }
    }
}

fn is_process_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

fn is_dying(stat: &Path) -> bool {
    fs::read_to_string(stat).map_or(true, |text| exiting_flag(&text).unwrap_or(true))
}

fn exiting_flag(stat: &str) -> Option<bool> {
    let (_, after_command) = stat.rsplit_once(") ")?;
    let flags: u64 = after_command
        .split_ascii_whitespace()
        .nth(9 - 3)?
        .parse()
        .ok()?;
    Some(flags & PF_EXITING != 0)
}

fn v2_of(roots: &Roots, pid: Pid, text: &str) -> Result<Cgroup, CgroupError> {
    let path = entries(text).find_map(|(controllers, path)| controllers.is_empty().then_some(path));
    let Some(path) = path else {
        let root = roots.cgroup.clone();
        return Err(CgroupError::NotMounted { pid, root });
    };
    let mount_root = v2_mount_root(roots)?;
    let below = below_mount(Path::new(path), &mount_root)?;
    Ok(Cgroup::V2(V2::new(roots.cgroup.clone(), &below)))
}

fn v1_of(roots: &Roots, pid: Pid, text: &str, dying: bool) -> Result<Cgroup, CgroupError> {
    let hierarchies = hierarchies(roots)?;
    let mut dirs = Vec::new();
    let mut hidden_by_death = false;
    for (controllers, path) in entries(text) {
        if dying && path == "/" {
            hidden_by_death = true;
            continue;
        }
        for controller in controllers.split(',').filter(|name| !name.is_empty()) {
            let mounted = hierarchies.iter().find(|hierarchy| {
                let mut all = hierarchy.controllers.iter();
                all.any(|known| &**known == controller)
            });
            let Some(hierarchy) = mounted else { continue };
            let below = below_mount(Path::new(path), &hierarchy.mount_root)?;
            dirs.push((controller, below, hierarchy.mount_point.as_path()));
        }
    }
    // What the OCI runtime did not place is in the root, with the rest of the machine: not the container's.
    if dirs
        .iter()
        .any(|(_, below, _)| !below.as_os_str().is_empty())
    {
        dirs.retain(|(_, below, _)| !below.as_os_str().is_empty());
    }
    if !dirs.is_empty() {
        let dirs = dirs
            .into_iter()
            .map(|(controller, below, mount): (&str, PathBuf, &Path)| {
                (Box::from(controller), mount.join(below))
            });
        return Ok(Cgroup::V1(V1::new(dirs.collect(), roots.proc.clone())));
    }
    if hidden_by_death {
        return Err(CgroupError::Gone);
    }
    let root = roots.cgroup.clone();
    Err(CgroupError::NotMounted { pid, root })
}

/// The lines `ID:CONTROLLERS:PATH` of `/proc/PID/cgroup`; the path may have colons.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
}

/// `path` relative to the group that the mount shows.
fn below_mount(path: &Path, mount_root: &Path) -> Result<PathBuf, CgroupError> {
    // A group outside of the mount: in another cgroup namespace the kernel itself has made the path relative.
    let inside = path.strip_prefix(mount_root).unwrap_or(path);
    clean(inside)
}

/// `path` without root and `.` components.
///
/// # Errors
/// [`CgroupError::BadPath`] where it climbs: `/proc/PID/cgroup` shows `/..` for groups outside of the cgroup
/// namespace (`cgroup_namespaces(7)`), and no caller may name one.
pub fn clean(path: &Path) -> Result<PathBuf, CgroupError> {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(CgroupError::BadPath {
                    path: path.to_string_lossy().into_owned(),
                });
            }
        }
    }
    Ok(cleaned)
}

/// The version 1 hierarchies that are mounted under the root, in the order of mounting.
pub fn hierarchies(roots: &Roots) -> Result<Vec<Hierarchy>, CgroupError> {
    let mut found = Vec::new();
    each_mount(roots, |line| {
        found.extend(hierarchy(line).filter(|one| one.mount_point.starts_with(&roots.cgroup)));
    })?;
    Ok(found)
}

/// The group that the cgroup2 mount shows as its root.
fn v2_mount_root(roots: &Roots) -> Result<PathBuf, CgroupError> {
    let mut root = PathBuf::from("/");
    each_mount(roots, |line| {
        if let Some(mount) = mount(line)
            && mount.kind == "cgroup2"
            && mount.point == roots.cgroup
        {
            root = mount.root;
        }
    })?;
    Ok(root)
}

/// Line by line, in one buffer: the table of a node with many pods is far larger than what is looked for in it.
fn each_mount(roots: &Roots, mut see: impl FnMut(&str)) -> Result<(), CgroupError> {
    let path = roots.proc.join("self/mountinfo");
    let wrap = |source| CgroupError::Read {
        path: path.clone(),
        source,
    };
    let mut reader = BufReader::new(match File::open(&path) {
        Ok(file) => file,
        Err(error) if read::is_absence(&error) => return Ok(()),
        Err(error) => return Err(wrap(error)),
    });
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(wrap)? > 0 {
        if let Ok(text) = std::str::from_utf8(&line) {
            see(text.trim_end());
        }
        line.clear();
    }
    Ok(())
}

/// What is of use in a line of mountinfo (proc(5)).
struct Mount<'line> {
    root: PathBuf,
    point: PathBuf,
    kind: &'line str,
    super_options: &'line str,
}

/// `36 35 98:0 ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPER_OPTIONS`
fn mount(line: &str) -> Option<Mount<'_>> {
    let (place, filesystem) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let mut filesystem = filesystem.split(' ');
    Some(Mount {
        root: unescape(place.next()?),
        point: unescape(place.next()?),
        kind: filesystem.next()?,
        super_options: filesystem.nth(1)?,
    })
}

/// The version 1 hierarchy in a line of mountinfo.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let mount = mount(line)?;
    if mount.kind != "cgroup" {
        return None;
    }
    // The options have the controllers among `rw` and the like, which no controller is called.
    let controllers = mount.super_options.split(',').map(Box::from).collect();
    Some(Hierarchy {
        controllers,
        mount_root: mount.root,
        mount_point: mount.point,
    })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                plain.push(char::from(code));
                rest = after.get(3..).unwrap_or("");
            }
            Some(_) | None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_tells_controllers_root_and_place() {
        let line = "33 31 0:30 /docker/c1 /sys/fs/cgroup/cpu\\054x rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct";
        let found = hierarchy(line).unwrap();
        assert_eq!(found.mount_root, Path::new("/docker/c1"));
        assert_eq!(found.mount_point, Path::new("/sys/fs/cgroup/cpu,x"));
        assert!(found.controllers.iter().any(|name| &**name == "cpuacct"));
        let other = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(hierarchy(other), None);
        assert_eq!(hierarchy("garbage - cgroup"), None);
    }

    #[test]
    fn a_dying_process_is_known_by_its_flags() {
        let zombie = "16807 (a) b) Z 1 1 1 0 -1 4227084 0 0";
        let living = "16807 (sleep) S 1 1 1 0 -1 4194304 0 0";
        assert_eq!(exiting_flag(zombie), Some(true));
        assert_eq!(exiting_flag(living), Some(false));
        assert_eq!(exiting_flag("16807 (x"), None);
    }

    #[test]
    fn paths_that_climb_are_refused() {
        assert_eq!(clean(Path::new("/a/./b//c/")).unwrap(), Path::new("a/b/c"));
        assert!(clean(Path::new("/a/../../b")).is_err());
    }

    #[test]
    fn only_whole_octal_escapes_are_replaced() {
        assert_eq!(unescape("/a\\040b"), Path::new("/a b"));
        assert_eq!(unescape("/a\\04"), Path::new("/a\\04"));
        assert_eq!(unescape("/ä\\9é0\\"), Path::new("/ä\\9é0\\"));
    }
}
