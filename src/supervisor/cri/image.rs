//! `runtime.v1.ImageService` over the local store, and what is removed from it when.
//!
//! An image that is removed is forgotten first; its layers go after that, unless a container has them. A container that
//! is being made is in no list yet: so making one and forgetting an image exclude each other.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tonic::{Request, Response, Status};

use super::{Service, command, convert};
use crate::api::cri;
use crate::images::{FsInfo, Image, ImageError, ImageStore};
use crate::supervisor::error::Error;
use crate::supervisor::store::StoreError;
use crate::sys::worker;
use crate::types::Timestamp;
use crate::types::error::chain;

/// Removing layers is as long as they are large.
const REMOVAL: Duration = Duration::from_secs(240);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl cri::image_service_server::ImageService for Service {
    async fn list_images(
        &self,
        request: Request<cri::ListImagesRequest>,
    ) -> Answer<cri::ListImagesResponse> {
        let filter = request.into_inner().filter.and_then(|filter| filter.image);
        let wanted = filter.map(|image| image.image).unwrap_or_default();
        let found = match wanted.is_empty() {
            true => self.images(ImageStore::list).await,
            false => match self.images(move |store| store.get(&wanted)).await {
                Ok(image) => Ok(vec![image]),
                Err(Error::Image(ImageError::NotFound { .. })) => Ok(Vec::new()),
                Err(error) => Err(error),
            },
        }?;
        Ok(Response::new(cri::ListImagesResponse {
            images: found.iter().map(|image| shown(image)).collect(),
        }))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Answer<cri::ImageStatusResponse> {
        let request = request.into_inner();
        let found = async {
            let wanted = reference(request.image)?;
            self.images(move |store| store.get(&wanted)).await
        };
        match found.await {
            Ok(image) => Ok(Response::new(cri::ImageStatusResponse {
                image: Some(shown(&image)),
                info: match request.verbose {
                    true => info(&image),
                    false => HashMap::new(),
                },
            })),
            // CRI's way to say that there is none.
            Err(Error::Image(ImageError::NotFound { .. })) => {
                Ok(Response::new(cri::ImageStatusResponse::default()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Answer<cri::PullImageResponse> {
        let found = async {
            let wanted = reference(request.into_inner().image)?;
            let name = wanted.clone();
            match self.images(move |store| store.get(&wanted)).await {
                Err(Error::Image(ImageError::NotFound { .. })) => Err(Error::Unsupported(format!(
                    "{name:?} is not in the store; load it with `outlive image load`: PullImage from a registry"
                ))),
                found => found,
            }
        };
        let image = found.await?;
        Ok(Response::new(cri::PullImageResponse {
            image_ref: image.id.clone(),
        }))
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Answer<cri::RemoveImageResponse> {
        let (service, request) = (self.clone(), request.into_inner());
        command("RemoveImage", REMOVAL, async move {
            let wanted = reference(request.image)?;
            let in_use = {
                let _none_is_made = service.making.write().await;
                match service.images(move |store| store.remove(&wanted)).await {
                    Ok(image) => log::info!(image = image.id.as_str(); "image removed"),
                    Err(Error::Image(ImageError::NotFound { .. })) => {
                        return Ok(cri::RemoveImageResponse {});
                    }
                    Err(error) => return Err(error),
                }
                service.layers_in_use()
            };
            service.collect(in_use).await;
            Ok(cri::RemoveImageResponse {})
        })
        .await
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Answer<cri::ImageFsInfoResponse> {
        let images = self.images(ImageStore::fs_info).await?;
        let containers = self.writable_layers().await?;
        let usage = |directory: &Path, used: FsInfo| cri::FilesystemUsage {
            timestamp: convert::nanos(Timestamp::now()),
            fs_id: Some(cri::FilesystemIdentifier {
                mountpoint: directory.display().to_string(),
            }),
            used_bytes: Some(cri::UInt64Value { value: used.bytes }),
            inodes_used: Some(cri::UInt64Value { value: used.inodes }),
        };
        // Kubelet takes two mountpoints for two disks, and compares their names (pkg/kubelet/container/container_gc.go,
        // IsContainerFsSeparateFromImageFs): so one disk has one name.
        let (of_images, root) = (
            self.supervisor.images.root(),
            self.supervisor.store.layout().root(),
        );
        let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
        let of_containers = match device(of_images) == device(root) {
            true => of_images,
            false => root,
        };
        Ok(Response::new(cri::ImageFsInfoResponse {
            image_filesystems: vec![usage(of_images, images)],
            container_filesystems: vec![usage(of_containers, containers)],
        }))
    }
}

impl Service {
    /// Asks the image store, beside the runtime's thread.
    async fn images<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&ImageStore) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.supervisor.images.clone();
        match worker::run(move || ask(&store)).await {
            Ok(answer) => Ok(answer?),
            Err(ended) => Err(Error::Store(StoreError {
                operation: "ask",
                path: self.supervisor.images.root().to_owned(),
                source: std::io::Error::other(ended),
            })),
        }
    }

    /// What the containers' writable layers take of the disk, counted now or a moment ago. One with too many files to be
    /// counted is left out.
    async fn writable_layers(&self) -> Result<FsInfo, Error> {
        let (supervisor, layers) = (Arc::clone(&self.supervisor), Arc::clone(&self.layers));
        let counted = worker::run(move || {
            let mut sum = FsInfo::default();
            for container in supervisor.store.containers() {
                if let Some(layer) = layers.of(container.id(), container.dir()) {
                    sum.bytes = sum.bytes.saturating_add(layer.bytes);
                    sum.inodes = sum.inodes.saturating_add(layer.inodes);
                }
            }
            sum
        });
        counted.await.map_err(|ended| {
            Error::Store(StoreError {
                operation: "count the files of",
                path: self.supervisor.store.layout().containers(),
                source: std::io::Error::other(ended),
            })
        })
    }

    /// The layers that containers have; `None` where one's cannot be read.
    fn layers_in_use(&self) -> Option<HashSet<String>> {
        let mut in_use = HashSet::new();
        for container in self.supervisor.store.containers() {
            in_use.extend(container.meta()?.layers.iter().cloned());
        }
        Some(in_use)
    }

    /// Removes layers that neither an image nor a container has. What cannot be removed now is removed the next time.
    async fn collect(&self, in_use: Option<HashSet<String>>) {
        let Some(in_use) = in_use else {
            log::warn!("no layers are removed: it is not known which ones a container has");
            return;
        };
        match self.images(move |store| store.gc(&in_use)).await {
            Ok(freed) if freed.layers > 0 => {
                log::info!(layers = freed.layers, bytes = freed.bytes; "unused layers removed");
            }
            Ok(_) => (),
            Err(error) => log::warn!(error:% = chain(&error); "unused layers cannot be removed"),
        }
    }

    /// Removes the layers that a crash in the middle of a removal has left.
    pub async fn collect_leftovers(&self) {
        let in_use = {
            let _none_is_made = self.making.write().await;
            self.layers_in_use()
        };
        self.collect(in_use).await;
    }
}

fn reference(image: Option<cri::ImageSpec>) -> Result<String, Error> {
    let name = image.map(|image| image.image).unwrap_or_default();
    if name.is_empty() {
        return Err(Error::invalid("image.image", "must not be empty"));
    }
    Ok(name)
}

fn shown(image: &Image) -> cri::Image {
    let config = image.config.config().as_ref();
    let user = config.and_then(|config| config.user().as_deref());
    let (uid, username) = user_of(user.unwrap_or_default());
    cri::Image {
        id: image.id.clone(),
        repo_tags: image.tags.clone(),
        repo_digests: image.digests.clone(),
        size: image.size,
        uid,
        username,
        spec: Some(cri::ImageSpec {
            image: image.id.clone(),
            ..Default::default()
        }),
        pinned: false,
    }
}

/// The image's `USER[:GROUP]`: a number or a name, by which kubelet tells whether it is root's.
fn user_of(user: &str) -> (Option<cri::Int64Value>, String) {
    let name = user.split(':').next().unwrap_or_default();
    match name.parse() {
        Ok(value) => (Some(cri::Int64Value { value }), String::new()),
        Err(_) => (None, name.to_owned()),
    }
}

fn info(image: &Image) -> HashMap<String, String> {
    let info = json!({ "imageSpec": image.config, "layers": image.layers });
    HashMap::from([("info".to_owned(), info.to_string())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_a_number_or_a_name_and_its_group_is_no_part_of_it() {
        let number = |value| (Some(cri::Int64Value { value }), String::new());
        assert_eq!(user_of("1000:100"), number(1000));
        assert_eq!(user_of("0"), number(0));
        assert_eq!(user_of("web:www"), (None, "web".to_owned()));
        assert_eq!(user_of(""), (None, String::new()));
    }
}
