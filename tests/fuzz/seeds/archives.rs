//! Archives of images, and of layers with everything in them that an unpacker takes care of.

use outlive::images::digest::Digest;
use serde_json::json;
use tar::{Builder, EntryType, Header};

/// A tar archive on its way.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn member(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(EntryType::Regular, name, "", content)
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn image_layer() -> Vec<Vec<u8>> {
    use EntryType::{Directory, Fifo, Link, Regular, Symlink};
    let usual = Tar::new()
        .member(Directory, "d/", "", b"")
        .pax(&[
            ("path", b"d/long"),
            ("SCHILY.xattr.trusted.a", b"1"),
            ("mtime", b"12.5"),
        ])
        .file("d/file", b"content")
        .member(Symlink, "d/link", "../d", b"")
        .member(Link, "d/again", "d/long", b"")
        .member(Link, "d/copied", "d/below", b"")
        .file("d/.wh.x", b"")
        .file("d/.wh..wh..opq", b"")
        .member(Fifo, "d/fifo", "", b"");
    // What would lead out: by its name, by links on the way, by a hard link's target.
    let by_name = Tar::new().file("../outside/file", b"by name");
    let by_link = Tar::new()
        .member(Symlink, "out", "../../../../outside", b"")
        .file("out/file", b"by link")
        .member(Symlink, "root", "/", b"")
        .file("root/outlive-fuzz", b"by the root")
        .member(Link, "hard", "out/file", b"")
        .file("hard", b"by hard link");
    let by_target = Tar::new().member(Link, "x", "../outside/file", b"");
    let replaced = Tar::new()
        .member(Directory, "a/", "", b"")
        .file("a/b", b"1")
        .member(Symlink, "a", "/outside", b"")
        .file("a/file", b"2")
        .member(Regular, "a", "", b"3");
    // A record whose length is less than that of the length itself.
    let short = Tar::new().member(EntryType::XHeader, "x", "", b"1 path=y\n");
    let tars = [
        usual,
        by_name,
        by_link,
        by_target,
        replaced,
        short,
        Tar::new(),
    ];
    tars.map(Tar::finish).into()
}

pub fn image_archive() -> Vec<Vec<u8>> {
    let layer = Tar::new().file("file", b"content").finish();
    let config = json!({
        "architecture": "", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).as_str()]},
    });
    let config = config.to_string();
    let docker = docker(&layer, config.as_bytes());
    let oci = oci(&layer, config.as_bytes());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &docker).unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(oci.as_slice(), level);
    vec![docker, oci, gzip.finish().unwrap(), zstd]
}

fn docker(layer: &[u8], config: &[u8]) -> Vec<u8> {
    let manifest = json!([{
        "Config": "config.json", "RepoTags": ["app:1"], "Layers": ["again/layer.tar"],
    }]);
    Tar::new()
        .file("config.json", config)
        .file("0/layer.tar", layer)
        .member(EntryType::Symlink, "again/layer.tar", "../0/layer.tar", b"")
        .file("manifest.json", manifest.to_string().as_bytes())
        .finish()
}

fn oci(layer: &[u8], config: &[u8]) -> Vec<u8> {
    let described = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        let file = format!("blobs/sha256/{}", digest.hex());
        let descriptor = json!({"digest": digest.as_str(), "size": bytes.len()});
        (file, descriptor)
    };
    let (layer_file, layer_descriptor) = described(layer);
    let (config_file, config_descriptor) = described(config);
    let manifest = json!({
        "schemaVersion": 2, "config": config_descriptor, "layers": [layer_descriptor],
    });
    let manifest = manifest.to_string();
    let (manifest_file, mut manifest_descriptor) = described(manifest.as_bytes());
    manifest_descriptor["annotations"] =
        json!({"io.containerd.image.name": "docker.io/library/app:1"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest_descriptor]});
    Tar::new()
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("index.json", index.to_string().as_bytes())
        .file(&manifest_file, manifest.as_bytes())
        .file(&config_file, config)
        .file(&layer_file, layer)
        .finish()
}
