//! What the tests do with the containers of a node, each by the `ctr` of its version.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ctr::{self, Output, Running};
use super::node::Node;
use super::under_test::{Runtime, oci_runtime};
use super::{image, poll};

/// How long a client has to notice that its containerd is dead, before it is killed.
const NOTICES: Duration = Duration::from_secs(1);

impl Node {
    /// A `ctr` of the same version, pointed at this containerd.
    pub fn ctr_command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(self.version.bin().join("ctr"));
        command
            .arg("--address")
            .arg(self.dir.join("c"))
            .args(["--namespace", &self.namespace])
            .args(args);
        command
    }

    /// Runs `ctr` to its end.
    pub fn ctr<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Output {
        ctr::run(&mut self.ctr_command(args), &self.dir.join("out"))
    }

    /// Runs `ctr` to its end, at most for `limit`. It is an error too that containerd is dead, or dies meanwhile.
    pub fn try_ctr<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: &[S],
        limit: Duration,
    ) -> Result<Output, String> {
        // It would try to connect for ten seconds.
        if !self.is_alive() {
            return Err("containerd is dead".to_owned());
        }
        let mut dead_since = None;
        let running = Running::start(
            self.ctr_command(args).stdin(Stdio::null()),
            &self.dir.join("out"),
        );
        running.finish_within(limit, || {
            if self.is_alive() {
                return None;
            }
            let since = *dead_since.get_or_insert_with(Instant::now);
            (since.elapsed() > NOTICES).then(|| "containerd has died".to_owned())
        })
    }

    /// Starts `ctr` and returns at once.
    pub fn spawn_ctr<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Running {
        Running::start(
            self.ctr_command(args).stdin(Stdio::piped()),
            &self.dir.join("out"),
        )
    }

    /// The arguments of a `ctr run` of `command` as container `id` on the shared root filesystem.
    pub fn run_args(&self, id: &str, flags: &[&str], command: &[&str]) -> Vec<String> {
        let rootfs = self.rootfs();
        self.args(
            "run",
            &[flags, &["--rootfs", rootfs.to_str().unwrap()]].concat(),
            id,
            command,
        )
    }

    /// The arguments of a `ctr run` of `command` as container `id` from the image of several layers.
    pub fn run_image_args(&self, id: &str, flags: &[&str], command: &[&str]) -> Vec<String> {
        self.image.get_or_init(|| image::import(self));
        self.args("run", &[flags, &[image::NAME]].concat(), id, command)
    }

    /// The arguments of a `ctr run` of `command` as container `id` by a specification that `edit` has changed.
    pub fn run_spec_args(
        &self,
        id: &str,
        flags: &[&str],
        command: &[&str],
        edit: impl FnOnce(&mut Value),
    ) -> Vec<String> {
        let mut spec: Value = serde_json::from_str(&self.ctr(&["oci", "spec"]).ok()).unwrap();
        spec["process"]["args"] = json!(command);
        spec["root"] = json!({"path": self.rootfs()});
        spec["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", self.namespace));
        edit(&mut spec);
        let path = self.dir.join(format!("{id}.json"));
        fs::write(&path, spec.to_string()).unwrap();
        self.args(
            "run",
            &[flags, &["--config", path.to_str().unwrap()]].concat(),
            id,
            &[],
        )
    }

    fn args(&self, verb: &str, flags: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        self.grouped_by(id);
        let fifos = self.dir.join("fifo");
        let mut args = vec![verb.to_owned()];
        args.extend(self.runtime_args());
        args.extend(["--fifo-dir".to_owned(), fifos.to_str().unwrap().to_owned()]);
        args.extend(
            [flags, &[id], command]
                .concat()
                .into_iter()
                .map(str::to_owned),
        );
        args
    }

    /// The runtime and its OCI runtime. `ctr` refuses --runc-binary for any runtime but Go's; the shim under test is told
    /// by a file.
    pub fn runtime_args(&self) -> Vec<String> {
        let mut args = vec!["--runtime".to_owned(), self.runtime.name().to_owned()];
        let Some(binary) = oci_runtime() else {
            return args;
        };
        if self.runtime == Runtime::Go {
            args.extend(["--runc-binary".to_owned(), binary]);
            return args;
        }
        let options = self.dir.join("options.toml");
        fs::write(&options, format!("binary_name = \"{binary}\"\n")).unwrap();
        args.extend([
            "--runtime-config-path".to_owned(),
            options.to_str().unwrap().to_owned(),
        ]);
        args
    }

    /// Remembers a container id or group name: the socket of its shim has to be gone at the end.
    pub fn grouped_by(&self, name: &str) {
        self.groupings.lock().unwrap().insert(name.to_owned());
    }

    /// Runs `command` as container `id` to its end, and removes it.
    pub fn run(&self, id: &str, flags: &[&str], command: &[&str]) -> Output {
        self.ctr(&self.run_args(id, &[&["--rm"], flags].concat(), command))
    }

    /// Starts `command` as container `id` and leaves it running; returns its pid.
    pub fn run_detached(&self, id: &str, flags: &[&str], command: &[&str]) -> u32 {
        self.ctr(&self.run_args(id, &[&["--detach"], flags].concat(), command))
            .ok();
        self.pid(id)
    }

    /// The arguments of a `ctr task exec`.
    pub fn exec_args(
        &self,
        id: &str,
        exec_id: &str,
        flags: &[&str],
        command: &[&str],
    ) -> Vec<String> {
        let fifos = self.dir.join("fifo");
        let head = [
            "task",
            "exec",
            "--fifo-dir",
            fifos.to_str().unwrap(),
            "--exec-id",
            exec_id,
        ];
        [&head, flags, &[id], command]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// Runs `command` in container `id` to its end.
    pub fn exec(&self, id: &str, exec_id: &str, command: &[&str]) -> Output {
        self.ctr(&self.exec_args(id, exec_id, &[], command))
    }

    /// Pid and status of the task of container `id` as `ctr task ls` shows them.
    pub fn task(&self, id: &str) -> Option<(u32, String)> {
        let output = self.ctr(&["task", "ls"]);
        let list = output.ok();
        let line = list
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|words| words.first() == Some(&id))?;
        Some((line[1].parse().unwrap(), line[2].to_owned()))
    }

    /// The pid of the task of container `id`.
    pub fn pid(&self, id: &str) -> u32 {
        self.task(id)
            .unwrap_or_else(|| panic!("no task {id}\n{}", self.log_tail()))
            .0
    }

    /// Waits until `ctr task ls` shows the task of container `id` in `status`.
    pub fn wait_for(&self, id: &str, status: &str) {
        poll::until(&format!("{id} is {status}"), || match self.task(id) {
            Some((_, seen)) if seen == status => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Sends `signal` to the init of container `id`.
    pub fn kill(&self, id: &str, signal: &str) {
        self.ctr(&["task", "kill", "--signal", signal, id]).ok();
    }

    /// Deletes the stopped task of container `id`, but not the container; returns the exit code that `ctr` was told.
    pub fn delete_task(&self, id: &str) -> u32 {
        let output = self.ctr(&["task", "delete", id]);
        assert_eq!(
            output.code,
            Some(0),
            "task delete {id}: {output:?}\n{}",
            self.log_tail()
        );
        output
            .task_exit_code()
            .and_then(|code| code.try_into().ok())
            .unwrap()
    }

    /// Deletes the stopped task of container `id` and the container; returns the exit code.
    pub fn delete(&self, id: &str) -> u32 {
        let code = self.delete_task(id);
        self.ctr(&["container", "delete", id]).ok();
        code
    }

    /// Kills container `id`, waits for its end and deletes it.
    pub fn destroy(&self, id: &str) -> u32 {
        self.kill(id, "SIGKILL");
        self.wait_for(id, "STOPPED");
        self.delete(id)
    }

    /// Kills and deletes all there is, in whatever state a crash left it.
    pub fn sweep(&self) {
        poll::until("everything can be killed and deleted", || {
            let containers = self.ctr(&["container", "ls", "-q"]).ok();
            let tasks = self.ctr(&["task", "ls", "-q"]).ok();
            let ids: BTreeSet<&str> = containers
                .split_whitespace()
                .chain(tasks.split_whitespace())
                .collect();
            let mut said = Vec::new();
            for id in &ids {
                for args in [
                    &["task", "kill", "-s", "SIGKILL"][..],
                    &["task", "delete"][..],
                    &["container", "delete"][..],
                ] {
                    said.push(self.ctr(&[args, &[*id]].concat()).stderr);
                }
            }
            if ids.is_empty() {
                Ok(())
            } else {
                Err(format!("{ids:?} {said:?}"))
            }
        });
    }
}

/// Creates an empty file: the sign that containers of these tests wait for.
pub fn touch(path: &std::path::Path) {
    std::fs::File::create(path).unwrap();
}

/// Takes the container's own pid namespace out of a specification: it then shares the host's.
pub fn without_pid_namespace(spec: &mut Value) {
    spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .retain(|namespace| namespace["type"] != "pid");
}
