//! `outlive pull`.

use super::args::Global;
use super::client::Client;
use super::error::Error;
use super::output;
use crate::api::cri;

/// Asks the supervisor to fetch an image.
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
    let pulled = client.call(format!("pull {image}"), images.pull_image(request));
    output::text(&(pulled.await?.image_ref + "\n"))
}
