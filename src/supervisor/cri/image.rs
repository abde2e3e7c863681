//! `runtime.v1.ImageService` over the local store.

use async_trait::async_trait;
use tonic::{Request, Response, Status};

use super::{Service, unsupported};
use crate::api::cri;

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl cri::image_service_server::ImageService for Service {
    async fn list_images(
        &self,
        _: Request<cri::ListImagesRequest>,
    ) -> Answer<cri::ListImagesResponse> {
        Err(unsupported("ListImages"))
    }

    async fn image_status(
        &self,
        _: Request<cri::ImageStatusRequest>,
    ) -> Answer<cri::ImageStatusResponse> {
        Err(unsupported("ImageStatus"))
    }

    async fn pull_image(
        &self,
        _: Request<cri::PullImageRequest>,
    ) -> Answer<cri::PullImageResponse> {
        Err(unsupported("PullImage"))
    }

    async fn remove_image(
        &self,
        _: Request<cri::RemoveImageRequest>,
    ) -> Answer<cri::RemoveImageResponse> {
        Err(unsupported("RemoveImage"))
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Answer<cri::ImageFsInfoResponse> {
        Err(unsupported("ImageFsInfo"))
    }
}
