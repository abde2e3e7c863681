//! What `docker save` writes: `manifest.json`, which lists configurations and layers by their names in the archive
//! (docker's image/tarexport; podman's docker-archive is the same).

use serde::Deserialize;

use super::ImageError;
use super::archive::Archive;
use super::described::{Described, LayerSource, diff_ids, parse_config, runs_here, wrong_platform};
use super::digest::{Digest, is_hex};
use super::reference::Reference;

const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of the archive; `None` where it is of another kind.
pub(super) fn images(archive: &Archive) -> Result<Option<Vec<Described>>, ImageError> {
    let Some(bytes) = archive.document(MANIFEST)? else {
        return Ok(None);
    };
    let manifests: Vec<Manifest> =
        serde_json::from_slice(&bytes).map_err(|source| ImageError::Json {
            subject: MANIFEST.into(),
            source,
        })?;
    let images = manifests.iter().map(|manifest| image(archive, manifest));
    Ok(Some(images.collect::<Result<_, _>>()?))
}

fn image(archive: &Archive, manifest: &Manifest) -> Result<Described, ImageError> {
    let subject = &manifest.config;
    // The file's name is its digest: `HEX.json`, or `blobs/sha256/HEX`.
    let stem = subject
        .rsplit_once('/')
        .map_or(subject.as_str(), |(_, name)| name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let config = if is_hex(stem) {
        let digest = Digest::parse(&format!("sha256:{stem}"));
        let digest = digest.map_err(|source| ImageError::Digest {
            subject: MANIFEST.into(),
            source,
        })?;
        archive.verified_document(subject, &digest)?
    } else {
        archive
            .document(subject)?
            .ok_or_else(|| ImageError::Missing {
                name: subject.clone(),
            })?
    };
    let parsed = parse_config(subject, &config)?;
    let (os, architecture) = (parsed.os().to_string(), parsed.architecture().to_string());
    if !runs_here(&os, &architecture) {
        return Err(wrong_platform(
            subject,
            vec![format!("{os}/{architecture}")],
        ));
    }
    let files = manifest.layers.as_deref().unwrap_or_default();
    let layers = diff_ids(subject, &parsed, files.len())?
        .into_iter()
        .zip(files)
        .map(|(diff_id, file)| LayerSource {
            diff_id,
            file: file.clone(),
            blob: None,
        })
        .collect();
    let tags = manifest.repo_tags.as_deref().unwrap_or_default();
    Ok(Described {
        names: tags
            .iter()
            .map(|tag| Reference::parse(tag))
            .collect::<Result<_, _>>()?,
        digests: Vec::new(),
        id: Digest::of(&config),
        config,
        layers,
    })
}
