//! A store in a directory of its own, and how to look at what became of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, unshare};

use outlive::images::{ImageError, ImageStore, LoadedImage};
use outlive::sys::mount;

use crate::archives::{Pack, layout};

/// The directory; it is removed at the end, and whatever is mounted goes with the test's thread.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make devices and mount: run them as root"
        );
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace for the test");
        let none = None::<&str>;
        nix::mount::mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        let name = format!(
            "outlive-images-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().canonicalize().unwrap().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn store(&self) -> ImageStore {
        ImageStore::new(self.path("images"))
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Loads an image of `layers` called `name`, through an OCI layout.
    pub fn load(&self, name: &str, layers: &[Vec<u8>]) -> Result<LoadedImage, ImageError> {
        let directory = self.path("layout");
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        layout(&directory, name, layers, Pack::Plain);
        let mut loaded = self.store().load(&directory, None)?;
        assert_eq!(loaded.len(), 1);
        Ok(loaded.pop().unwrap())
    }

    /// The directory of the files of the image's layer `number`.
    pub fn files(&self, image: &str, number: usize) -> PathBuf {
        let image = self.store().get(image).unwrap();
        self.store().layer(&image.layers[number])
    }

    /// Mounts a container's root filesystem of `image`, on a tmpfs for what it writes.
    pub fn mounted(&self, image: &str) -> Rootfs {
        let image = self.store().get(image).unwrap();
        self.mounted_layers(&image.layers)
    }

    pub fn mounted_layers(&self, layers: &[String]) -> Rootfs {
        let base = self.path("container");
        let rootfs = base.join("rootfs");
        fs::create_dir_all(&base).unwrap();
        self.tmpfs("container", "8m");
        for name in ["upper", "work", "rootfs"] {
            fs::create_dir(base.join(name)).unwrap();
        }
        let store = self.store();
        for each in store.overlay_mounts(layers, &base.join("upper"), &base.join("work")) {
            mount::mount(&each, &rootfs)
                .unwrap_or_else(|error| panic!("{}", outlive::types::error::chain(&error)));
        }
        Rootfs { base, rootfs }
    }

    /// Mounts a tmpfs on the directory `name`, which is made.
    pub fn tmpfs(&self, name: &str, size: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
        let size = format!("size={size}");
        nix::mount::mount(
            Some("tmpfs"),
            &self.path(name),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .unwrap();
    }

    /// Everything in the store but what is always there, as paths in it.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for directory in ["layers", "configs", ".work"] {
            let Ok(entries) = fs::read_dir(self.path("images").join(directory)) else {
                continue;
            };
            for entry in entries {
                let name = entry.unwrap().file_name().into_string().unwrap();
                left.push(format!("{directory}/{name}"));
            }
        }
        left.sort();
        left
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        unmount(&self.path("images"));
        let removed = fs::remove_dir_all(&self.0);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// A mounted root filesystem.
pub struct Rootfs {
    base: PathBuf,
    rootfs: PathBuf,
}

impl Rootfs {
    pub fn path(&self, name: &str) -> PathBuf {
        self.rootfs.join(name)
    }

    /// The names in a directory, sorted.
    pub fn names(&self, name: &str) -> Vec<String> {
        names(&self.path(name))
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        unmount(&self.rootfs);
        unmount(&self.base);
    }
}

/// Unmounts what may be mounted.
fn unmount(path: &Path) {
    match nix::mount::umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(_) => {}
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// An error with its causes.
pub fn shown(error: &ImageError) -> String {
    outlive::types::error::chain(error)
}
