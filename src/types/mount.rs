//! One mount of a container's root filesystem, as containerd describes it (`api/types/mount.proto`).

/// A mount below a container's root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// The filesystem type (`overlay`, `bind`, `ext4`, `fuse3.name`); empty for a bind mount given by its options.
    pub kind: String,
    /// The device, directory or image file; its meaning depends on the type.
    pub source: String,
    /// Where, relative to the root filesystem; empty for the root filesystem itself.
    pub target: String,
    /// Options as mount(8) writes them, one an entry: `ro`, `rbind`, `lowerdir=a:b`, `loop`, `uidmap=0:100000:65536`.
    pub options: Vec<String>,
}
