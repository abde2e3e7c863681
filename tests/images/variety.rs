//! What builders and tools write that the specifications do not ask for.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use outlive::images::ImageError;
use outlive::images::digest::Digest;
use serde_json::{Value, json};

use crate::archives::{Layout, Pack, Tar, config, layout, machine};
use crate::place::{Place, shown};

fn layer() -> Vec<u8> {
    Tar::new().file("file", "content").finish()
}

/// A layout whose image has this configuration and this blob as its layer.
fn layout_of(directory: &Path, config: &Value, blob: &[u8]) {
    let mut layout = Layout::new(directory);
    let config = serde_json::to_vec(config).unwrap();
    let config = layout.blob("application/vnd.oci.image.config.v1+json", &config);
    let blob = layout.blob("application/vnd.oci.image.layer.v1.tar", blob);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [blob]});
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let manifest = layout.blob("application/vnd.oci.image.manifest.v1+json", &manifest);
    layout.add(manifest, "app").finish();
}

fn is_loaded(place: &Place, from: &Path, name: Option<&str>) {
    let loaded = place.store().load(from, name);
    loaded.unwrap_or_else(|error| panic!("{}", shown(&error)));
    let file = place.files("app", 0).join("file");
    assert_eq!(fs::read_to_string(file).unwrap(), "content");
}

#[test]
fn null_stands_for_an_empty_value_in_a_configuration() {
    let place = Place::new();
    let mut config = config(&[layer()], machine());
    config["config"] = json!({
        "Volumes": {"/v": null}, "ExposedPorts": {"80/tcp": null}, "Labels": {"a": null},
        "Env": ["", "A", "B=c"], "Cmd": null, "Entrypoint": null, "OnBuild": null
    });
    config["history"] = Value::Null;
    layout_of(&place.path("layout"), &config, &layer());
    is_loaded(&place, &place.path("layout"), None);
    let image = place.store().get("app").unwrap();
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.volumes().as_ref().unwrap(), &["/v"]);
}

#[test]
fn an_architecture_may_be_missing_or_spelled_otherwise() {
    for spelled in ["", "x86_64", "x86-64", "AMD64", "aarch64"] {
        let place = Place::new();
        let foreign = matches!(
            (spelled, machine()),
            ("aarch64", "amd64") | ("x86_64" | "x86-64" | "AMD64", "arm64")
        );
        let mut written = config(&[layer()], spelled);
        if spelled.is_empty() {
            written.as_object_mut().unwrap().remove("architecture");
            written.as_object_mut().unwrap().remove("os");
        }
        layout_of(&place.path("layout"), &written, &layer());
        let mut index: Value =
            serde_json::from_slice(&fs::read(place.path("layout/index.json")).unwrap()).unwrap();
        index["manifests"][0]["platform"] = json!({"architecture": spelled, "os": "linux"});
        fs::write(place.path("layout/index.json"), index.to_string()).unwrap();
        if foreign {
            let refused = place.store().load(&place.path("layout"), None).unwrap_err();
            assert!(matches!(refused, ImageError::Platform { .. }), "{refused}");
        } else {
            is_loaded(&place, &place.path("layout"), None);
        }
    }
}

/// A gzip member of `content` with an extra field.
fn gzip(content: &[u8], extra: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().extra(extra);
    let mut encoder = builder.write(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_footers_of_estargz_and_zstd_chunked_are_no_content() {
    let (layer, config) = (layer(), config(&[layer()], machine()));
    // eStargz: a gzip member for each file, and an empty one that says where the table of contents is
    // (stargz-snapshotter, docs/estargz.md, "Footer").
    let (first, rest) = layer.split_at(512);
    let footer = gzip(b"", b"SG\x16\x00000000000000abcdSTARGZ");
    let estargz = [gzip(first, b""), gzip(rest, b""), footer].concat();
    // zstd:chunked: frames to be skipped hold the table of contents and the footer
    // (containers/storage, pkg/chunked/internal/minimal/compression.go).
    let skipped = |content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [&[0x50, 0x2a, 0x4d, 0x18], &length[..], content].concat()
    };
    let frames = [Pack::Zstd.pack(first), Pack::Zstd.pack(rest)].concat();
    let chunked = [frames, skipped(b"{\"version\":1}"), skipped(&[7; 64])].concat();
    for blob in [estargz, chunked] {
        let place = Place::new();
        layout_of(&place.path("layout"), &config, &blob);
        is_loaded(&place, &place.path("layout"), None);
    }
}

#[test]
fn blobs_may_be_links_in_the_layout_and_none_that_lead_out_of_it() {
    let place = Place::new();
    let directory = place.path("layout");
    layout(&directory, "app", &[layer()], Pack::Gzip);
    let blobs = directory.join("blobs/sha256");
    fs::create_dir(directory.join("real")).unwrap();
    let names: Vec<_> = fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    for name in &names {
        fs::rename(blobs.join(name), directory.join("real").join(name)).unwrap();
        symlink(Path::new("../../real").join(name), blobs.join(name)).unwrap();
    }
    is_loaded(&place, &directory, None);

    fs::rename(directory.join("real"), place.path("outside")).unwrap();
    for outside in [place.path("outside"), "../../../outside".into()] {
        let place_of_blobs = place.path("layout/blobs/sha256");
        for name in &names {
            fs::remove_file(place_of_blobs.join(name)).unwrap();
            symlink(outside.join(name), place_of_blobs.join(name)).unwrap();
        }
        let refused = place.store().load(&directory, None).unwrap_err();
        assert!(
            matches!(refused, ImageError::LeadsOut { .. }),
            "{refused:?}"
        );
        assert!(shown(&refused).contains("leads out"), "{refused}");
    }
}

#[test]
fn a_directory_of_skopeo_loads_with_one_manifest_and_with_an_index() {
    let place = Place::new();
    let directory = place.path("dir");
    fs::create_dir(&directory).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(directory.join(name), bytes).unwrap();
    put("version", b"Directory Transport Version: 1.1\n");
    let blob = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        put(digest.hex(), bytes);
        json!({"mediaType": kind, "digest": digest.as_str(), "size": bytes.len()})
    };
    let config = serde_json::to_vec(&config(&[layer()], machine())).unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": blob(&config, "application/vnd.docker.container.image.v1+json"),
        "layers": [blob(&Pack::Gzip.pack(&layer()), "application/vnd.docker.image.rootfs.diff.tar.gzip")],
    });
    let manifest = manifest.to_string();
    put("manifest.json", manifest.as_bytes());
    is_loaded(&place, &directory, Some("app"));
    let digest = Digest::of(manifest.as_bytes());
    let by_digest = format!("docker.io/library/app@{digest}");
    assert_eq!(place.store().get("app").unwrap().digests, [by_digest]);

    put(
        &format!("{}.manifest.json", digest.hex()),
        manifest.as_bytes(),
    );
    let index = json!({"schemaVersion": 2, "manifests": [
        {"digest": Digest::of(b"other").as_str(), "size": 5, "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": digest.as_str(), "size": manifest.len(), "platform": {"os": "linux", "architecture": machine()}},
    ]});
    put("manifest.json", index.to_string().as_bytes());
    is_loaded(&place, &directory, Some("app"));
    fs::remove_file(directory.join(format!("{}.manifest.json", digest.hex()))).unwrap();
    let refused = place.store().load(&directory, Some("app")).unwrap_err();
    assert!(matches!(refused, ImageError::Missing { .. }), "{refused:?}");
}

#[test]
fn an_index_that_names_others_a_great_many_times_is_refused() {
    let place = Place::new();
    let directory = place.path("layout");
    let mut layout = Layout::new(&directory);
    // Thousands of thousands of thousands, none of which is for this machine.
    let mut inner = layout.manifest(&[layer()], Pack::Plain, "s390x");
    for _ in 0..3 {
        inner = layout.index(&vec![inner; 10_000]);
    }
    layout.add(inner, "app").finish();
    let refused = place.store().load(&directory, None).unwrap_err();
    assert!(
        matches!(refused, ImageError::TooLarge { .. }),
        "{refused:?}"
    );
}
