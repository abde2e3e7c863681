//! What stops a container: the image's `StopSignal`.

use oci_spec::image::ImageConfiguration;

use super::SpecError;
use crate::types::Signal;

const FIELD: &str = "image config.StopSignal";
/// The C library keeps the first two real-time signals for itself (signal(7)); Docker and containerd count from here.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

/// The image's stop signal, SIGTERM where it names none: `SIGTERM`, `TERM`, `15`, `RTMIN+3`, `SIGRTMAX-2`.
///
/// # Errors
/// What it names is no signal.
pub fn stop_signal(image: &ImageConfiguration) -> Result<Signal, SpecError> {
    let config = image.config().as_ref();
    let named = config.and_then(|config| config.stop_signal().as_deref());
    match named.filter(|name| !name.is_empty()) {
        Some(name) => {
            parse(name).ok_or_else(|| SpecError::invalid(FIELD, format!("{name:?} is no signal")))
        }
        None => Ok(Signal::TERM),
    }
}

fn parse(name: &str) -> Option<Signal> {
    if let Ok(number) = name.parse() {
        return Signal::new(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |number: u32| (RTMIN..=RTMAX).contains(&number).then_some(number);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        let offset: u32 = match offset.strip_prefix('+') {
            Some(offset) => offset.parse().ok()?,
            None if offset.is_empty() => 0,
            None => return None,
        };
        return Signal::new(real_time(RTMIN.checked_add(offset)?)?);
    }
    if let Some(offset) = bare.strip_prefix("RTMAX") {
        let offset: u32 = match offset.strip_prefix('-') {
            Some(offset) => offset.parse().ok()?,
            None if offset.is_empty() => 0,
            None => return None,
        };
        return Signal::new(real_time(RTMAX.checked_sub(offset)?)?);
    }
    let full = match bare {
        "CLD" => "SIGCHLD".to_owned(),
        "POLL" => "SIGIO".to_owned(),
        "IOT" => "SIGABRT".to_owned(),
        name => format!("SIG{name}"),
    };
    let signal: nix::sys::signal::Signal = full.parse().ok()?;
    Signal::new((signal as i32).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_signal_is_understood() {
        for (name, number) in [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("15", 15),
            ("sigquit", 3),
            ("SIGWINCH", 28),
            ("SIGPOLL", 29),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("rtmax", 64),
            ("64", 64),
        ] {
            assert_eq!(parse(name), Signal::new(number), "{name}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for name in [
            "0", "65", "-1", "SIGFOO", "SIG", "RTMIN-1", "RTMIN+31", "RTMAX-31", "RTMIN3", "TERM ",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn an_image_that_names_none_is_stopped_by_sigterm() {
        let image = |json: &str| serde_json::from_str::<ImageConfiguration>(json).unwrap();
        let rest =
            r#""architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}"#;
        let none = image(&format!("{{{rest}}}"));
        assert_eq!(stop_signal(&none).unwrap(), Signal::TERM);
        let quit = image(&format!(
            r#"{{{rest},"config":{{"StopSignal":"SIGQUIT"}}}}"#
        ));
        assert_eq!(stop_signal(&quit).unwrap().get(), 3);
        let wrong = image(&format!(r#"{{{rest},"config":{{"StopSignal":"SIGNOT"}}}}"#));
        assert_eq!(stop_signal(&wrong).unwrap_err().field(), Some(FIELD));
    }
}
