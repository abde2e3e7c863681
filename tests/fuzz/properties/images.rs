//! Images: an archive of any bytes is loaded whole or leaves nothing, and reaches nothing but the store.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use outlive::images::digest::Digest;
use outlive::images::{ImageStore, LoadedImage};
use serde_json::json;

use super::Scratch;

/// The file of an archive.
pub fn image_archive(bytes: &[u8]) {
    let scratch = Scratch::new();
    let archive = scratch.write("archive", bytes);
    check(&scratch, &archive);
}

/// The archive of a layer above another one, in an image around both that is sound; the sums in its headers are made
/// right.
pub fn image_layer(bytes: &[u8]) {
    let scratch = Scratch::new();
    let layers = [below(), with_sums(bytes)];
    let layout = scratch.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": kind, "digest": digest.as_str(), "size": bytes.len()})
    };
    let config = json!({
        "os": "linux", "architecture": "", "config": {},
        "rootfs": {"type": "layers", "diff_ids": layers.each_ref().map(|layer| Digest::of(layer).to_string())},
    });
    let config = blob(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let described = layers.each_ref().map(|layer| blob(kind, layer));
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": described}).to_string();
    let manifest = blob(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.as_bytes(),
    );
    let index = json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    fs::write(layout.join("index.json"), index).unwrap();
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    check(&scratch, &layout);
    // Nothing else goes by the name of that layer.
    let blobs = layout.join("blobs/sha256");
    let [_, layer] = layers;
    let blob = blobs.join(Digest::of(&layer).hex());
    let mut changed = layer;
    if let Some(byte) = changed.get_mut(bytes.len() / 2) {
        *byte ^= 1;
        fs::write(&blob, changed).unwrap();
        let other = ImageStore::new(scratch.join("other"));
        assert!(other.load(&layout, None).is_err(), "a damaged layer");
        assert_eq!(other.list().unwrap(), []);
    }
}

const BLOCK: usize = 512;

/// A layer with one file, `d/below`.
fn below() -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    for (at, field) in [
        (0, "d/below"),
        (100, "0000644"),
        (124, "00000000007"),
        (156, "0"),
    ] {
        header[at..at + field.len()].copy_from_slice(field.as_bytes());
    }
    with_sums(&[&header, b"content".as_slice()].concat())
}

/// `bytes` in whole blocks, with right sums in what stands where headers are expected.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    tar.resize(bytes.len().next_multiple_of(BLOCK), 0);
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[124..135]).unwrap_or_default();
        let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        at = at.saturating_add(size.next_multiple_of(BLOCK));
    }
    tar
}

/// Loads `archive` into a store in `scratch`, beside what must not be touched.
fn check(scratch: &Scratch, archive: &Path) {
    fs::create_dir(scratch.join("outside")).unwrap();
    scratch.write("outside/file", b"untouched");
    let root = scratch.join("images");
    let before = seen(scratch.path(), &root);
    let store = ImageStore::new(&root);
    match store.load(archive, None) {
        Ok(loaded) => check_loaded(&store, archive, &loaded),
        Err(_) => {
            assert_eq!(store.list().unwrap(), []);
            for directory in ["layers", "configs", ".work"] {
                let left = fs::read_dir(root.join(directory)).map_or(0, Iterator::count);
                assert_eq!(left, 0, "left in {directory}");
            }
        }
    }
    assert_eq!(seen(scratch.path(), &root), before, "outside of the store");
    assert!(!Path::new("/outlive-fuzz").exists(), "outside of the store");
}

/// What was loaded is there, and the same archive brings nothing new.
fn check_loaded(store: &ImageStore, archive: &Path, loaded: &[LoadedImage]) {
    assert!(!loaded.is_empty());
    for image in loaded {
        let found = store.get(&image.id).unwrap();
        assert_eq!(found.id, image.id);
        for layer in &found.layers {
            assert!(store.layer(layer).is_dir());
        }
    }
    let again = store.load(archive, None).unwrap();
    assert!(again.iter().all(|image| image.unpacked == 0));
    let ids = |images: &[LoadedImage]| -> Vec<String> {
        images.iter().map(|image| image.id.clone()).collect()
    };
    assert_eq!(ids(&again), ids(loaded));
}

/// Everything below `directory` but `store`: names, owners, modes, and the content of files.
fn seen(directory: &Path, store: &Path) -> Vec<String> {
    let mut seen = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().collect();
    entries.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    for entry in entries {
        let path = entry.unwrap().path();
        if path == store {
            continue;
        }
        let about = fs::symlink_metadata(&path).unwrap();
        let digest = if about.is_file() {
            Digest::of(&fs::read(&path).unwrap()).to_string()
        } else {
            String::new()
        };
        let (mode, uid, links) = (about.mode(), about.uid(), about.nlink());
        seen.push(format!("{path:?} {mode:o} {uid} {links} {digest}"));
        if about.is_dir() {
            seen.extend(self::seen(&path, store));
        }
    }
    seen
}
