//! Images leave the store: first the index forgets them, then what only they used goes.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::index::Index;
use super::layers::{Layers, names_in};
use super::reference::Reference;
use super::writer::Writer;
use super::{Image, ImageError, ImageStore, find};

/// How long a removal waits for a load to end. It is part of a call that somebody waits for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a garbage collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// How many layers.
    pub layers: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl ImageStore {
    /// Forgets an image, with all its names, and answers what it was. Its layers stay until [`ImageStore::gc`].
    ///
    /// # Errors
    /// As [`ImageStore::get`]; [`ImageError::Busy`] while images are loaded for long.
    pub fn remove(&self, reference: &str) -> Result<Arc<Image>, ImageError> {
        // Nobody waits for a lock to be told that there is no such image.
        self.get(reference)?;
        let _writer = Writer::new(&self.root, PATIENCE)?;
        let image = self.get(reference)?;
        let (mut index, _) = Index::read(&self.root)?;
        index.images.retain(|entry| entry.id.as_str() != image.id);
        index.write(&self.root)?;
        Ok(image)
    }

    /// Takes the name `reference` from its image; the image with it, where that was its last name or `reference` is no
    /// name. Answers the image as it was, and how many of its names are left.
    ///
    /// # Errors
    /// As [`ImageStore::remove`].
    pub fn untag(&self, reference: &str) -> Result<(Arc<Image>, usize), ImageError> {
        self.get(reference)?;
        let _writer = Writer::new(&self.root, PATIENCE)?;
        let images = self.list()?;
        let image = Arc::clone(find(&images, reference)?);
        let name = Reference::parse(reference).ok();
        let tag = name.and_then(|name| name.tagged());
        let tag = tag.filter(|tag| image.tags.len() > 1 && image.tags.contains(tag));
        let (mut index, _) = Index::read(&self.root)?;
        let mut left = 0;
        index.images.retain_mut(|entry| {
            if entry.id.as_str() != image.id {
                return true;
            }
            let Some(tag) = &tag else {
                return false;
            };
            entry.tags.retain(|known| known != tag);
            left = entry.tags.len();
            true
        });
        index.write(&self.root)?;
        Ok((image, left))
    }

    /// Removes the layers and configurations that no image names. `in_use` are the layers of containers; what they
    /// use, and a container that is being made is among them, the caller knows.
    ///
    /// # Errors
    /// [`ImageError::Io`], [`ImageError::Corrupt`] (then nothing is removed), [`ImageError::Busy`].
    pub fn gc(&self, in_use: &HashSet<String>) -> Result<Freed, ImageError> {
        let layers = Layers::of(&self.root);
        if layers.names()?.is_empty() && names_in(&self.root.join("configs"))?.is_empty() {
            return Ok(Freed::default());
        }
        let mut writer = Writer::new(&self.root, PATIENCE)?;
        let (index, _) = Index::read(&self.root)?;
        let named: HashSet<&str> = index
            .images
            .iter()
            .flat_map(|entry| entry.layers.iter().map(String::as_str))
            .collect();
        let mut freed = Freed::default();
        for name in layers.names()? {
            if named.contains(name.as_str()) || in_use.contains(&name) {
                continue;
            }
            freed.bytes += layers.about(&name).map_or(0, |about| about.bytes);
            freed.layers += 1;
            let scratch = writer.scratch()?;
            layers.remove(&name, &scratch.path().join("gone"))?;
        }
        let ids: HashSet<&str> = index.images.iter().map(|entry| entry.id.hex()).collect();
        let configs = self.root.join("configs");
        for name in names_in(&configs)? {
            if ids.contains(name.as_str()) {
                continue;
            }
            let path = configs.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|error| ImageError::io("removing", &path, error))?,
            }
        }
        Ok(freed)
    }
}
