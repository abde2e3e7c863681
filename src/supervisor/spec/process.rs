//! What runs in a container: command, environment and working directory, the request's before the image's.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::image::{Config, ImageConfiguration};
use oci_spec::runtime::{Process, Spec};

use super::checks::{absolute, text};
use super::{Inputs, SpecError};
use crate::api::cri;

/// What is searched for programs where neither the image nor the request says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of an image's configuration concerns its containers.
fn image_config(image: &ImageConfiguration) -> Option<&Config> {
    image.config().as_ref()
}

/// The image's `User`; empty for none.
pub(super) fn image_user(image: &ImageConfiguration) -> &str {
    let config = image_config(image);
    config
        .and_then(|config| config.user().as_deref())
        .unwrap_or("")
}

/// `command` replaces the image's Entrypoint and with it its Cmd, `args` its Cmd (CRI, `ContainerConfig`; containerd's
/// `WithProcessArgs`).
pub(super) fn arguments(
    config: &cri::ContainerConfig,
    image: &ImageConfiguration,
) -> Result<Vec<String>, SpecError> {
    for (name, list) in [("command", &config.command), ("args", &config.args)] {
        for (index, word) in list.iter().enumerate() {
            text(&format!("{name}[{index}]"), word)?;
        }
    }
    let image = image_config(image);
    let of_image = |list: fn(&Config) -> &Option<Vec<String>>| {
        let list = image.and_then(|image| list(image).as_ref());
        list.cloned().unwrap_or_default()
    };
    let mut words = config.command.clone();
    if words.is_empty() {
        words = of_image(Config::entrypoint);
        words.extend(if config.args.is_empty() {
            of_image(Config::cmd)
        } else {
            config.args.clone()
        });
    } else {
        words.extend(config.args.iter().cloned());
    }
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        Some(_) => Err(SpecError::invalid("command[0]", "it is empty")),
        None => Err(SpecError::invalid(
            "command",
            "neither the request nor the image has one",
        )),
    }
}

/// Variables in the order in which their names came, found by name: an image or a request may have a great many.
#[derive(Default)]
struct Environment {
    entries: Vec<String>,
    places: HashMap<String, usize>,
}

impl Environment {
    /// Puts `NAME=value` where another value of that name is, at the end where there is none.
    fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let known = self.places.get(name);
        match known.and_then(|&place| self.entries.get_mut(place)) {
            Some(other) => *other = entry,
            None => {
                self.places.insert(name.to_owned(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }
}

/// A default PATH, the host name, the image's, the request's: the later wins. What an image has without a name or
/// without `=` is left out, as docker and containerd do it: no process could be given it.
pub(super) fn environment(inputs: &Inputs<'_>) -> Result<Vec<String>, SpecError> {
    let hostname = match inputs.pod.hostname.as_str() {
        "" => &inputs.host.hostname,
        hostname => hostname,
    };
    let mut environment = Environment::default();
    environment.set("PATH", PATH);
    environment.set("HOSTNAME", hostname);
    let of_image = image_config(inputs.image).and_then(|config| config.env().as_ref());
    for entry in of_image.into_iter().flatten() {
        text("image config.Env", entry)?;
        if let Some((name, value)) = entry.split_once('=')
            && !name.is_empty()
        {
            environment.set(name, value);
        }
    }
    for (index, cri::KeyValue { key, value }) in inputs.config.envs.iter().enumerate() {
        let field = format!("envs[{index}]");
        text(&format!("{field}.key"), key)?;
        text(&format!("{field}.value"), value)?;
        if key.is_empty() || key.contains('=') {
            return Err(SpecError::invalid(
                format!("{field}.key"),
                format!("{key:?} is no name of a variable"),
            ));
        }
        environment.set(key, value);
    }
    Ok(environment.entries)
}

/// The request's, the image's, or the root. An image's may lack its first slash, as Docker allows.
pub(super) fn working_dir(
    config: &cri::ContainerConfig,
    image: &ImageConfiguration,
) -> Result<PathBuf, SpecError> {
    if !config.working_dir.is_empty() {
        return absolute("working_dir", &config.working_dir);
    }
    let of_image = image_config(image).and_then(|config| config.working_dir().as_deref());
    absolute(
        "image config.WorkingDir",
        &format!("/{}", of_image.unwrap_or("")),
    )
}

/// A further process of a container, as ExecSync starts one: like the first one, with other arguments and no
/// terminal. Its JSON is what the shim's Exec takes.
///
/// # Errors
/// The command is empty (`cmd`), or the specification has no process.
pub fn exec_process(spec: &Spec, command: Vec<String>) -> Result<Process, SpecError> {
    if command.first().is_none_or(String::is_empty) {
        return Err(SpecError::invalid("cmd", "it is empty"));
    }
    for (index, word) in command.iter().enumerate() {
        text(&format!("cmd[{index}]"), word)?;
    }
    let Some(process) = spec.process() else {
        return Err(SpecError::invalid(
            "container_id",
            "its specification has no process",
        ));
    };
    let mut process = process.clone();
    process
        .set_args(Some(command))
        .set_terminal(Some(false))
        .set_console_size(None);
    Ok(process)
}
