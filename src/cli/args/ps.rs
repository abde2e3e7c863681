//! What `outlive ps` takes.

use clap::{Args, ValueEnum};

use crate::cli::quantity;

/// `ps`.
#[derive(Debug, Clone, Args)]
pub struct PsArgs {
    /// Those that do not run, too
    #[arg(long, short)]
    pub all: bool,
    /// Only those of a pod
    #[arg(long)]
    pub pod: Option<String>,
    /// Only those in this state
    #[arg(long, value_enum, ignore_case = true)]
    pub state: Option<State>,
    /// Only those with this label; may be given more than once
    #[arg(long, value_parser = quantity::key_value, value_name = "KEY=VALUE")]
    pub label: Vec<(String, String)>,
    /// Only those with this state, label, beginning of an id or part of a name; may be given more than once
    #[arg(long, short, value_parser = Filter::parse, value_name = "status|label|id|name=VALUE")]
    pub filter: Vec<Filter>,
    /// Ids only
    #[arg(long, short)]
    pub quiet: bool,
    /// Whole ids
    #[arg(long)]
    pub no_trunc: bool,
}

/// A container's state, as CRI has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Not started.
    Created,
    /// Started.
    Running,
    /// Ended.
    Exited,
    /// Nobody can tell.
    Unknown,
}

/// What a container must be to be listed: `--filter` as docker-ps(1) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// In this state.
    Status(State),
    /// Labelled with this key and value.
    Label(String, String),
    /// Its id begins so.
    Id(String),
    /// Its name contains this.
    Name(String),
}

impl Filter {
    /// `KEY=VALUE`.
    ///
    /// # Errors
    /// Which keys and values there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = quantity::key_value(text)?;
        match key.as_str() {
            "status" => State::from_str(&value, true)
                .map(Self::Status)
                .map_err(|_| {
                    format!("status {value:?} is none of created, running, exited, unknown")
                }),
            "label" => {
                let (key, value) = quantity::key_value(&value)
                    .map_err(|_| "must be label=KEY=VALUE".to_owned())?;
                Ok(Self::Label(key, value))
            }
            "id" => Ok(Self::Id(value)),
            "name" => Ok(Self::Name(value)),
            _ => Err(format!(
                "{key:?} is none of status, label, id, name; `-o json` prints everything, for jq(1) to choose from"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_docker_s() {
        for (text, expected) in [
            ("status=exited", Filter::Status(State::Exited)),
            ("label=a=b", Filter::Label("a".to_owned(), "b".to_owned())),
            ("name=web", Filter::Name("web".to_owned())),
            ("id=12", Filter::Id("12".to_owned())),
        ] {
            assert_eq!(Filter::parse(text), Ok(expected), "{text}");
        }
        for text in ["web", "status=dead", "label=a", "ancestor=busybox"] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
