//! An OCI image of several layers, built by hand from the busybox root filesystem and imported into a node.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::node::Node;

/// The name of the image in the node.
pub const NAME: &str = "outlive.test/busybox:layers";

/// How many layers it has: the root filesystem, then one file `/layer-N` each, the last of which also changes `/top`.
pub const LAYERS: usize = 5;

/// Builds the image and imports it.
pub fn import(node: &Node) {
    let dir = node.dir().join("image");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let layers: Vec<Blob> = (0..LAYERS)
        .map(|number| layer(node, &dir, number))
        .collect();
    let diff_ids: Vec<&String> = layers.iter().map(|layer| &layer.digest).collect();
    let config = put_json(
        &dir,
        &json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }),
    );
    let described: Vec<Value> = layers
        .iter()
        .map(|layer| layer.descriptor("application/vnd.oci.image.layer.v1.tar"))
        .collect();
    let manifest = put_json(
        &dir,
        &json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": described,
        }),
    );
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({"io.containerd.image.name": NAME});
    fs::write(
        dir.join("index.json"),
        json!({"schemaVersion": 2, "manifests": [entry]}).to_string(),
    )
    .unwrap();
    fs::write(
        dir.join("oci-layout"),
        json!({"imageLayoutVersion": "1.0.0"}).to_string(),
    )
    .unwrap();
    let archive = node.dir().join("image.tar");
    tar(&archive, &dir);
    node.ctr(&["image", "import", archive.to_str().unwrap()])
        .ok();
}

struct Blob {
    digest: String,
    size: usize,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size})
    }
}

fn layer(node: &Node, dir: &Path, number: usize) -> Blob {
    let archive = node.dir().join("layer.tar");
    if number == 0 {
        tar(&archive, &node.rootfs());
    } else {
        let content = node.dir().join(format!("layer-{number}"));
        fs::create_dir_all(&content).unwrap();
        fs::write(
            content.join(format!("layer-{number}")),
            format!("{number}\n"),
        )
        .unwrap();
        fs::write(content.join("top"), format!("{number}\n")).unwrap();
        tar(&archive, &content);
    }
    put(dir, &fs::read(&archive).unwrap())
}

fn tar(archive: &Path, dir: &Path) {
    let status = Command::new("tar")
        .arg("-cf")
        .arg(archive)
        .arg("-C")
        .arg(dir)
        .arg(".")
        .status()
        .unwrap();
    assert!(status.success(), "tar of {}", dir.display());
}

fn put_json(dir: &Path, value: &Value) -> Blob {
    put(dir, value.to_string().as_bytes())
}

fn put(dir: &Path, bytes: &[u8]) -> Blob {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::write(dir.join("blobs/sha256").join(&hex), bytes).unwrap();
    Blob {
        digest: format!("sha256:{hex}"),
        size: bytes.len(),
    }
}
