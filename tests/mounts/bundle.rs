//! A bundle to mount in, and how to look at what became of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};

use outlive::sys::mount::{self, MountError, Step, unmount_tree};
use outlive::types::Mount;

/// A bundle in a directory of its own, which is checked for mounts and removed at the end.
pub struct Bundle(pub PathBuf);

impl Bundle {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests mount: run them as root"
        );
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace for the test");
        let none = None::<&str>;
        nix::mount::mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        let name = format!(
            "outlive-mounts-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let bundle = Self(std::env::temp_dir().canonicalize().unwrap().join(name));
        fs::create_dir_all(bundle.rootfs()).unwrap();
        bundle
    }

    pub fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// A directory in the bundle, made with its parents.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn mount(
        &self,
        kind: &str,
        source: impl AsRef<Path>,
        target: &str,
        options: &[&str],
    ) -> Result<(), MountError> {
        mount::mount(&described(kind, source, target, options), &self.rootfs())
    }

    /// An ext4 filesystem (which can be idmapped on every kernel in question, unlike tmpfs), mounted on `name`.
    pub fn ext4(&self, name: &str) -> PathBuf {
        let image = self.image(&format!("{name}.img"));
        let place = self.dir(name);
        mount::mount(&described("ext4", image, "", &["loop"]), &place).unwrap();
        place
    }

    /// An image of an empty ext4 filesystem. One is made for all tests: mkfs.ext4 may take seconds in a guest.
    pub fn image(&self, name: &str) -> PathBuf {
        static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
        let path = self.0.join(name);
        let empty = EMPTY.get_or_init(|| {
            fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
            let output = Command::new("mkfs.ext4")
                .args(["-q", "-F"])
                .arg(&path)
                .output();
            let output = output.expect("mkfs.ext4, from Debian's package e2fsprogs");
            assert!(output.status.success(), "{output:?}");
            fs::read(&path).unwrap()
        });
        fs::write(&path, empty).unwrap();
        path
    }

    /// The mount points in the bundle, as the kernel writes them.
    pub fn mounted(&self) -> Vec<String> {
        let all = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let base = self.0.to_str().unwrap();
        let points = all.lines().filter_map(|line| line.split(' ').nth(4));
        points
            .filter(|point| point.starts_with(base))
            .map(str::to_owned)
            .collect()
    }

    /// Unmounts the root filesystem; nothing but `kept` (a name in the bundle) may be mounted then.
    pub fn unmount_all_but(&self, kept: &[&str]) {
        unmount_tree(&self.rootfs()).unwrap();
        let kept = kept
            .iter()
            .map(|name| self.0.join(name).to_str().unwrap().to_owned());
        assert_eq!(self.mounted(), kept.collect::<Vec<_>>());
        assert!(!self.0.join("idmapped").exists());
        unmount_tree(&self.rootfs()).expect("a second time is fine");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for entry in fs::read_dir(&self.0).unwrap() {
            unmount_tree(&entry.unwrap().path()).unwrap();
        }
        assert_eq!(self.mounted(), [""; 0]);
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub fn described(kind: &str, source: impl AsRef<Path>, target: &str, options: &[&str]) -> Mount {
    Mount {
        kind: kind.to_owned(),
        source: source.as_ref().to_str().unwrap().to_owned(),
        target: target.to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    }
}

pub fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error()
}

/// The errno of the step `expected`.
pub fn failed_at(expected: Step, result: Result<(), MountError>) -> Option<i32> {
    match result {
        Err(MountError::Step { step, error, .. }) if step == expected => errno(&error),
        other => panic!("{other:?} instead of a failure at {expected:?}"),
    }
}

pub fn poll<T: std::fmt::Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    done: impl Fn(&T) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = look();
        if done(&seen) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}; last seen: {seen:?}");
        std::thread::yield_now();
    }
}

/// The loop devices that show a file in `dir`.
pub fn attached(dir: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap();
    let files = devices.filter_map(|entry| {
        fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok()
    });
    files
        .filter(|file| Path::new(file.trim_end()).starts_with(dir))
        .collect()
}
