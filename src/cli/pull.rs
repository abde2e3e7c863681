//! `outlive pull`: for other CRI servers than ours, which fetches nothing yet and answers for the images that are there.

use tonic::Code;

use super::args::{Global, LOAD};
use super::client::Client;
use super::error::Error;
use super::output;
use crate::api::cri;

/// Asks the server to fetch an image.
pub async fn run(global: &Global, image: &str) -> Result<(), Error> {
    let client = Client::connect(global).await?;
    let request = cri::PullImageRequest {
        image: Some(cri::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut images = client.images();
    let call = images.pull_image(request);
    match client.call(format!("pull {image}"), call).await {
        Ok(pulled) => output::text(&(pulled.image_ref + "\n")),
        Err(Error::Call { status, .. }) if status.code() == Code::Unimplemented => {
            Err(Error::Unsupported(format!(
                "pull {image}: images cannot be fetched yet; {LOAD}"
            )))
        }
        Err(error) => Err(error),
    }
}
