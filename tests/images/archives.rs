//! Archives as others write them, byte by byte where it matters.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use outlive::images::digest::Digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// A tar archive on its way. Names are written as they are given.
pub struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Any member.
    pub fn member(
        mut self,
        kind: EntryType,
        name: &str,
        more: impl FnOnce(&mut Header),
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_ustar();
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        more(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.member(EntryType::Regular, name, |_| {}, content.as_bytes())
    }

    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.member(
            EntryType::Directory,
            name,
            |header| header.set_mode(mode),
            b"",
        )
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let set = |header: &mut Header| {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        };
        self.member(kind, name, set, b"")
    }

    /// Pax records for the next member.
    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pack {
    Plain,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Pack {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2];

    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => ruzstd::encoding::compress_to_vec(
                bytes,
                ruzstd::encoding::CompressionLevel::Fastest,
            ),
            Self::Xz => filter("xz", bytes),
            Self::Bzip2 => filter("bzip2", bytes),
        }
    }
}

/// What a program makes of `bytes`.
fn filter(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

/// The configuration of an image of `layers`.
pub fn config(layers: &[Vec<u8>], architecture: &str) -> Value {
    json!({
        "architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "User": "7:8"},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| Digest::of(layer).to_string()).collect::<Vec<_>>()},
        "history": [{"created_by": "the tests"}],
    })
}

/// An OCI layout in a directory, to which images are added.
pub struct Layout<'a> {
    directory: &'a Path,
    manifests: Vec<Value>,
}

impl<'a> Layout<'a> {
    pub fn new(directory: &'a Path) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        fs::write(
            directory.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        Self {
            directory,
            manifests: Vec::new(),
        }
    }

    /// Writes a blob and answers its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(
            self.directory.join("blobs/sha256").join(digest.hex()),
            bytes,
        )
        .unwrap();
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": bytes.len()})
    }

    /// Writes a manifest and answers its descriptor.
    pub fn manifest(&self, layers: &[Vec<u8>], pack: Pack, architecture: &str) -> Value {
        let config = serde_json::to_vec(&config(layers, architecture)).unwrap();
        let config = self.blob("application/vnd.oci.image.config.v1+json", &config);
        let layers = layers
            .iter()
            .map(|layer| self.blob("application/vnd.oci.image.layer.v1.tar", &pack.pack(layer)));
        let layers: Vec<_> = layers.collect();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            &serde_json::to_vec(&manifest).unwrap(),
        )
    }

    /// Writes an index and answers its descriptor.
    pub fn index(&self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        self.blob(
            "application/vnd.oci.image.index.v1+json",
            &serde_json::to_vec(&index).unwrap(),
        )
    }

    /// Names what a descriptor describes, as containerd does.
    pub fn add(&mut self, mut descriptor: Value, name: &str) -> &mut Self {
        if !name.is_empty() {
            descriptor["annotations"] = json!({"io.containerd.image.name": name});
        }
        self.add_as_it_is(descriptor)
    }

    pub fn add_as_it_is(&mut self, descriptor: Value) -> &mut Self {
        self.manifests.push(descriptor);
        self
    }

    pub fn finish(&self) {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        fs::write(self.directory.join("index.json"), index.to_string()).unwrap();
    }
}

/// A layout with one image.
pub fn layout(directory: &Path, name: &str, layers: &[Vec<u8>], pack: Pack) {
    let mut layout = Layout::new(directory);
    let manifest = layout.manifest(layers, pack, machine());
    layout.add(manifest, name).finish();
}

/// A directory as a tar file, index.json first and blobs last or not: the order is that of the directory.
pub fn tar_of(directory: &Path) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    builder.append_dir_all(".", directory).unwrap();
    builder.into_inner().unwrap()
}

/// What `docker save` wrote before it wrote OCI layouts: a second use of a layer is a symbolic link.
pub fn docker_archive(tags: &[&str], layers: &[Vec<u8>]) -> Vec<u8> {
    let config = serde_json::to_vec(&config(layers, machine())).unwrap();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut tar = Tar::new().member(EntryType::Regular, &config_name, |_| {}, &config);
    let mut files: Vec<String> = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let file = format!("{number}/layer.tar");
        tar = tar.dir(&format!("{number}/"), 0o755);
        let first = layers.iter().position(|other| other == layer).unwrap();
        tar = if first == number {
            tar.member(EntryType::Regular, &file, |_| {}, layer)
        } else {
            tar.symlink(&file, &format!("../{first}/layer.tar"))
        };
        files.push(file);
    }
    let manifest = json!([{"Config": config_name, "RepoTags": tags, "Layers": files}]);
    tar.file("manifest.json", &manifest.to_string()).finish()
}

/// This machine, as Go calls it.
pub fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
