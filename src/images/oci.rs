//! An OCI image layout (image-spec, image-layout.md): from `index.json` to the manifests for this machine.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;

use super::ImageError;
use super::archive::Archive;
use super::described::{Described, LayerSource, diff_ids, parse_config, runs_here, wrong_platform};
use super::digest::Digest;
use super::reference::{Reference, is_tag};

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";

/// An index in an index in an index, and no further.
const DEEPEST: u32 = 4;

/// The full name of an image: what containerd and docker write.
const FULL_NAME: &str = "io.containerd.image.name";

/// Its name or tag (annotations.md): what skopeo and buildah write.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Marks what is about an image and is none (buildkit's attestations).
const ABOUT_IMAGE: &str = "vnd.docker.reference.type";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

/// An index or a manifest: which one it is, the fields tell.
#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

impl Descriptor {
    fn annotation(&self, key: &str) -> Option<&str> {
        Some(self.annotations.as_ref()?.get(key)?.as_str())
    }

    fn digest(&self, subject: &str) -> Result<Digest, ImageError> {
        Digest::parse(&self.digest).map_err(|source| ImageError::Digest {
            subject: subject.to_owned(),
            source,
        })
    }

    /// Reads what it describes, a JSON document whose name in the archive `named` tells.
    fn read(
        &self,
        source: Source<'_>,
        subject: &str,
        named: fn(&Digest) -> String,
    ) -> Result<(String, Vec<u8>), ImageError> {
        let digest = self.digest(subject)?;
        let file = named(&digest);
        let bytes = source.archive.verified_document(&file, &digest)?;
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found != self.size {
            return Err(ImageError::SizeMismatch {
                subject: file,
                expected: self.size,
                found,
            });
        }
        Ok((file, bytes))
    }
}

/// An archive, and how the files in it are named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub archive: &'a Archive,
    /// The name of a configuration or layer.
    pub blob: fn(&Digest) -> String,
    /// The name of a manifest or index.
    pub manifest: fn(&Digest) -> String,
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The images of the layout that are for this machine; `None` where the archive is of another kind.
pub(super) fn images(archive: &Archive) -> Result<Option<Vec<Described>>, ImageError> {
    let (Some(layout), Some(index)) = (archive.document(LAYOUT)?, archive.document(INDEX)?) else {
        return Ok(None);
    };
    let layout: Layout = parse(LAYOUT, &layout)?;
    if !layout.image_layout_version.starts_with("1.") {
        return Err(ImageError::content(
            LAYOUT,
            format!(
                "its version is {:?}, and 1 is known here",
                layout.image_layout_version
            ),
        ));
    }
    let index: Document = parse(INDEX, &index)?;
    let source = Source {
        archive,
        blob,
        manifest: blob,
    };
    let mut images: Vec<Described> = Vec::new();
    let mut places: HashMap<Digest, usize> = HashMap::new();
    let mut others: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for descriptor in index.manifests.unwrap_or_default() {
        let (names, shown) = names(&descriptor)?;
        let mut found = Vec::new();
        let Some(mut image) = choose(source, INDEX, &descriptor, DEEPEST, &mut found)? else {
            others.entry(shown).or_default().extend(found);
            continue;
        };
        image.names = names;
        // The same image under more than one name is listed more than once.
        let place = places.get(&image.id);
        match place.and_then(|&place| images.get_mut(place)) {
            Some(known) => {
                known.names.extend(image.names);
                known.digests.extend(image.digests);
            }
            None => {
                places.insert(image.id.clone(), images.len());
                images.push(image);
            }
        }
    }
    // Descriptors with one name are one image for many machines.
    let named = images.iter().flat_map(|image| &image.names);
    let named: HashSet<_> = named.map(ToString::to_string).collect();
    others.retain(|shown, found| {
        let any = if shown.is_empty() {
            !images.is_empty()
        } else {
            named.contains(shown)
        };
        !any && !found.is_empty()
    });
    match others.pop_first() {
        Some((shown, found)) if shown.is_empty() => Err(wrong_platform("the image", found)),
        Some((shown, found)) => Err(wrong_platform(&shown, found)),
        None => Ok(Some(images)),
    }
}

fn parse<'a, T: Deserialize<'a>>(subject: &str, bytes: &'a [u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json {
        subject: subject.to_owned(),
        source,
    })
}

/// The names of what `descriptor` describes, and the same for a message. A tag alone is no name.
fn names(descriptor: &Descriptor) -> Result<(Vec<Reference>, String), ImageError> {
    let written = descriptor.annotation(FULL_NAME).or_else(|| {
        let name = descriptor.annotation(REF_NAME)?;
        (!is_tag(name)).then_some(name)
    });
    let Some(written) = written else {
        return Ok((Vec::new(), String::new()));
    };
    let name = Reference::parse(written)?;
    let shown = name.to_string();
    Ok((vec![name], shown))
}

/// The image for this machine behind `descriptor`, which is in `subject`. What was passed over is added to `found`.
fn choose(
    source: Source<'_>,
    subject: &str,
    descriptor: &Descriptor,
    depth: u32,
    found: &mut Vec<String>,
) -> Result<Option<Described>, ImageError> {
    if descriptor.annotation(ABOUT_IMAGE).is_some() {
        return Ok(None);
    }
    if let Some(Platform { os, architecture }) = &descriptor.platform
        && !runs_here(os, architecture)
    {
        found.push(format!("{os}/{architecture}"));
        return Ok(None);
    }
    let (file, bytes) = descriptor.read(source, subject, source.manifest)?;
    let digest = descriptor.digest(subject)?;
    choose_in(source, &file, (&bytes, digest), depth, found)
}

/// The image of a manifest, or that for this machine of an index: `file` in the archive, which has these bytes.
fn choose_in(
    source: Source<'_>,
    file: &str,
    (bytes, digest): (&[u8], Digest),
    depth: u32,
    found: &mut Vec<String>,
) -> Result<Option<Described>, ImageError> {
    let document: Document = parse(file, bytes)?;
    if let Some(manifests) = document.manifests {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(ImageError::content(
                file,
                "it is an index in too many others",
            ));
        };
        for manifest in &manifests {
            if let Some(mut image) = choose(source, file, manifest, depth, found)? {
                image.digests.push(digest);
                return Ok(Some(image));
            }
        }
        return Ok(None);
    }
    let (Some(config), Some(layers)) = (document.config, document.layers) else {
        return Err(ImageError::content(
            file,
            "it is neither an index nor a manifest",
        ));
    };
    image(source, file, digest, &config, &layers, found)
}

/// The image for this machine behind `file`, a manifest or an index that nothing in the archive describes.
pub(super) fn image_of(source: Source<'_>, file: &str) -> Result<Described, ImageError> {
    let bytes = source.archive.document(file)?;
    let bytes = bytes.ok_or_else(|| ImageError::Missing {
        name: file.to_owned(),
    })?;
    let (digest, mut found) = (Digest::of(&bytes), Vec::new());
    choose_in(source, file, (&bytes, digest), DEEPEST, &mut found)?
        .ok_or_else(|| wrong_platform("the image", found))
}

fn image(
    source: Source<'_>,
    subject: &str,
    manifest: Digest,
    config: &Descriptor,
    layers: &[Descriptor],
    found: &mut Vec<String>,
) -> Result<Option<Described>, ImageError> {
    let kind = config.media_type.as_str();
    let of_image = kind.is_empty() || CONFIGS.contains(&kind);
    if !of_image {
        found.push(format!("an artifact of type {kind}"));
        return Ok(None);
    }
    let (config_file, bytes) = config.read(source, subject, source.blob)?;
    let parsed = parse_config(&config_file, &bytes)?;
    let (os, architecture) = (parsed.os().to_string(), parsed.architecture().to_string());
    if !runs_here(&os, &architecture) {
        found.push(format!("{os}/{architecture}"));
        return Ok(None);
    }
    let layers = diff_ids(subject, &parsed, layers.len())?
        .into_iter()
        .zip(layers)
        .map(|(diff_id, layer)| {
            let digest = layer.digest(subject)?;
            Ok(LayerSource {
                diff_id,
                file: (source.blob)(&digest),
                blob: Some((digest, layer.size)),
            })
        })
        .collect::<Result<_, ImageError>>()?;
    Ok(Some(Described {
        names: Vec::new(),
        digests: vec![manifest],
        id: config.digest(subject)?,
        config: bytes,
        layers,
    }))
}

/// The media types of an image's configuration.
const CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];
