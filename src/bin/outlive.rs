//! The supervisor and its command line.
fn main() -> std::process::ExitCode {
    let mut options = outlive::supervisor::daemon::Options::default();
    let mut words = std::env::args().skip(2);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        match key.as_str() {
            "--config" => options.config = Some(value.into()),
            "--root" => options.root = Some(value.into()),
            "--state" => options.state = Some(value.into()),
            _ => options.address = Some(value),
        }
    }
    outlive::supervisor::daemon::run(&options)
}
