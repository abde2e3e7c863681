//! What users of docker(1) and podman(1) type and this command line does not take, with what to do instead; and the exit
//! code for arguments that cannot be.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::cli::error::{OUR_FAILURE, USAGE, warn};

/// How an image gets here without a registry.
pub const LOAD: &str = "load it from an archive: `docker save IMAGE | outlive image load`, or `skopeo copy \
                        docker://IMAGE docker-archive:FILE:IMAGE` and `outlive image load FILE`";

const INPUT: &str = "input and terminals are not supported yet; leave it out: output is shown without it, `run -d` \
                     returns at once, and `outlive exec CONTAINER PROGRAM` runs a further program";
const OWN_USER: &str = "a further program runs as the container's own does; set what it needs in a shell: `outlive exec \
                        CONTAINER sh -c 'cd DIR && NAME=VALUE exec PROGRAM'`";
const JSON: &str = "`-o json` prints everything, for jq(1) to choose from";
const ALL: &str = "name them: $(outlive ps -q), or $(outlive ps -aq)";

/// A command, options of it, and what to do without them.
const ADVICE: [(&str, &[&str], &str); 27] = [
    (
        "run",
        &["-i", "--interactive", "-t", "--tty", "-a", "--attach"],
        INPUT,
    ),
    (
        "run",
        &["--tmpfs"],
        "mount a tmpfs on the host and give it with -v; /dev/shm is one of 64 MiB",
    ),
    (
        "run",
        &["--shm-size"],
        "mount a tmpfs of that size on the host and give it with -v DIR:/dev/shm",
    ),
    (
        "run",
        &["--ulimit"],
        "have a shell set it: IMAGE sh -c 'ulimit -n 1024; exec PROGRAM'",
    ),
    (
        "run",
        &["--add-host"],
        "mount a file over it: -v FILE:/etc/hosts",
    ),
    (
        "run",
        &["--init"],
        "the image's own entrypoint has to reap its children",
    ),
    (
        "run",
        &["--stop-signal", "--stop-timeout"],
        "the image says which signal; `outlive stop -t SECONDS` how long",
    ),
    (
        "run",
        &["--userns", "--uidmap", "--gidmap"],
        "user namespaces are not supported yet; --user is",
    ),
    (
        "run",
        &["--gpus"],
        "give its devices with --device, its libraries with -v",
    ),
    (
        "run",
        &["--log-driver", "--log-opt"],
        "the log is a file in the CRI format, --log-dir says where",
    ),
    ("run", &["--cidfile"], "`outlive run -d` prints the id"),
    (
        "run",
        &["-P", "--publish-all", "--expose"],
        "publish ports with -p HOST:CONTAINER",
    ),
    (
        "run",
        &["--link", "--network-alias", "--ip"],
        "the network is CNI's: its configuration says who has which address",
    ),
    (
        "run",
        &["--oom-kill-disable", "--cpu-period", "--cpu-quota"],
        "limit it with --memory and --cpus",
    ),
    ("exec", &["-i", "--interactive", "-t", "--tty"], INPUT),
    (
        "exec",
        &["-d", "--detach"],
        "have the shell leave it running: outlive exec CONTAINER sh -c 'PROGRAM &'",
    ),
    (
        "exec",
        &[
            "-e",
            "--env",
            "-w",
            "--workdir",
            "-u",
            "--user",
            "--privileged",
        ],
        OWN_USER,
    ),
    ("ps", &["--format"], JSON),
    (
        "images",
        &["--format", "-f", "--filter", "-a", "--all"],
        JSON,
    ),
    (
        "inspect",
        &["-f", "--format", "-t", "--type"],
        "it prints JSON, for jq(1) to choose from; --pod names a pod",
    ),
    ("stats", &["--format"], JSON),
    (
        "events",
        &["--format", "-f", "--filter", "--since", "--until"],
        JSON,
    ),
    ("stop", &["-a", "--all"], ALL),
    ("kill", &["-a"], ALL),
    ("rm", &["-a", "--all"], ALL),
    (
        "rmi",
        &["-f", "--force", "-a", "--all"],
        "remove its containers first; a name of several is taken away as it is",
    ),
    (
        "logs",
        &["--details", "-l", "--latest"],
        "`outlive inspect CONTAINER` shows its labels and names",
    ),
];

/// Reads this process's arguments.
///
/// # Errors
/// The exit code, after it has said what is wrong, or after `--help` or `--version` was printed: 125 for `run` and
/// `exec`, whose low exit codes are the program's (docker-run(1)), else 2.
pub fn parse() -> Result<Cli, ExitCode> {
    let error = match Cli::read() {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    // Where it cannot be printed, there is no other place to say so.
    drop(error.print());
    if !error.use_stderr() {
        return Err(ExitCode::SUCCESS);
    }
    let words = std::env::args_os();
    let matches = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(words);
    let command = matches
        .as_ref()
        .map_or(None, clap::ArgMatches::subcommand_name);
    let command = command.unwrap_or_default();
    if let Some(advice) = advice(command, &error) {
        warn(&advice);
    }
    Err(ExitCode::from(match command {
        "run" | "exec" => OUR_FAILURE,
        _ => USAGE,
    }))
}

/// What to do instead, where an option of the table was given.
fn advice(command: &str, error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let option = option.split('=').next().unwrap_or(option);
    let (_, _, advice) = ADVICE
        .iter()
        .find(|(of, options, _)| *of == command && options.contains(&option))?;
    Some(format!("{command} has no {option}: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn told(words: &[&str]) -> Option<String> {
        let all = ["outlive"].iter().chain(words);
        advice(words[0], &Cli::try_parse_from(all).unwrap_err())
    }

    #[test]
    fn an_option_of_docker_s_is_refused_with_what_to_do_instead() {
        for (words, expected) in [
            (&["run", "-it", "busybox"][..], "run has no -i: input"),
            (&["run", "-ti", "busybox"], "run has no -t: input"),
            (&["run", "--tty", "busybox"], "run has no --tty: input"),
            (&["run", "--rm", "-dit", "busybox"], "run has no -i: input"),
            (
                &["run", "--tmpfs=/tmp", "busybox"],
                "run has no --tmpfs: mount",
            ),
            (&["exec", "-it", "c", "sh"], "exec has no -i: input"),
            (&["exec", "-u", "0", "c", "sh"], "exec has no -u: a further"),
            (&["ps", "--format", "x"], "ps has no --format: `-o json`"),
        ] {
            let told = told(words).unwrap_or_default();
            assert!(told.starts_with(expected), "{words:?}: {told}");
        }
        assert_eq!(told(&["run", "--nonsense", "busybox"]), None);
    }

    #[test]
    fn nothing_in_the_table_is_an_option() {
        let cli = Cli::command();
        for (command, options, _) in ADVICE {
            let command = cli.find_subcommand(command).unwrap();
            for option in options {
                let is_known = command.get_arguments().any(|argument| {
                    let long = argument.get_long_and_visible_aliases().unwrap_or_default();
                    let short = argument.get_short_and_visible_aliases().unwrap_or_default();
                    long.iter().any(|long| format!("--{long}") == *option)
                        || short.iter().any(|short| format!("-{short}") == *option)
                });
                assert!(!is_known, "{} has {option}", command.get_name());
            }
        }
    }
}
