//! What a container may do: the filter of system calls, users and groups.

use std::fs;
use std::path::Path;

use super::support::supervisor::{IMAGE, Supervisor};
use super::{code, run, run_words, stderr, stdout, with_image};

/// `outlive run --rm` with these options, of a shell with `script`.
fn shell(supervisor: &Supervisor, options: &[&str], script: &str) -> (i32, String, String) {
    let words = [&["--rm"], options, &[IMAGE, "sh", "-c", script]].concat();
    let output = run(supervisor, &words);
    (
        code(&output),
        stdout(&output).to_owned(),
        stderr(&output).to_owned(),
    )
}

/// `Seccomp` of proc(5): 0 for none, 2 for a filter.
const SECCOMP: &str = "sed -n 's/^Seccomp:.//p' /proc/self/status";

#[test]
fn system_calls_are_filtered_unless_told_otherwise() {
    let supervisor = with_image();
    for (options, expected) in [
        (&[][..], "2\n"),
        (&["--cap-add", "ALL"], "2\n"),
        (&["--security-opt", "seccomp=unconfined"], "0\n"),
        (&["--privileged"], "0\n"),
    ] {
        let (code, out, errors) = shell(&supervisor, options, SECCOMP);
        assert_eq!((code, &*out), (0, expected), "{options:?}: {errors}");
    }
    supervisor.ok(&run_words(&["-d", "--name", "c", IMAGE, "sleep", "600"]));
    let inside = supervisor.ok(&["exec", "c", "sh", "-c", SECCOMP]);
    assert_eq!(inside, "2\n", "exec");
    // CRI: a container that asks for no profile has none.
    let pod = supervisor.run_pod("plain");
    let id = supervisor.run(&pod, "plain", &["sleep", "600"]);
    assert_eq!(supervisor.ok(&["exec", &id, "sh", "-c", SECCOMP]), "0\n");
}

#[test]
fn a_filtered_call_is_not_permitted_and_a_capability_permits_its_own() {
    let supervisor = with_image();
    let refused = "unshare -U true && echo entered; mount -t tmpfs none /tmp && echo mounted; true";
    let (_, out, errors) = shell(&supervisor, &[], refused);
    assert_eq!(out, "", "{errors}");
    assert!(
        errors.contains("unshare(0x10000000): Operation not permitted"),
        "{errors}"
    );
    assert_eq!(errors.matches("ermi").count(), 2, "{errors}");
    let allowed = "unshare -m true && mount -t tmpfs none /tmp && touch /tmp/x && echo mounted";
    let options = ["--cap-add", "sys_admin"];
    let (code, out, errors) = shell(&supervisor, &options, allowed);
    assert_eq!((code, &*out), (0, "mounted\n"), "{errors}");
    // A user namespace takes no capability of the container: only the filter refuses it.
    let options = ["--security-opt", "seccomp=unconfined"];
    let (code, out, errors) = shell(&supervisor, &options, "unshare -U echo entered");
    assert_eq!((code, &*out), (0, "entered\n"), "{errors}");
}

/// What runs in a container below: Rust's test harness runs each test in a thread of its own.
#[test]
fn a_thread_starts() {
    let thread = std::thread::spawn(|| 7);
    assert_eq!(thread.join().unwrap(), 7);
}

#[test]
fn threads_and_processes_start_under_the_filter() {
    let supervisor = with_image();
    // The C library's threads try clone3(2) first, whose flags a filter cannot see: it has to answer ENOSYS.
    let program = std::env::current_exe().unwrap();
    let program = format!("{}:/threads:ro", program.display());
    let libraries = ["/lib", "/lib64", "/usr/lib"].map(|path| format!("{path}:{path}:ro"));
    let mut options = vec!["-v", &program];
    for library in &libraries {
        if Path::new(library.split(':').next().unwrap()).exists() {
            options.extend(["-v", library]);
        }
    }
    let script =
        "sh -c 'echo forked | cat' && /threads --exact security::a_thread_starts --test-threads 2";
    let (code, out, errors) = shell(&supervisor, &options, script);
    assert_eq!(code, 0, "{out}{errors}");
    assert!(out.starts_with("forked\n"), "{out}");
    assert!(out.contains("test result: ok. 1 passed"), "{out}");
}

#[test]
fn a_profile_of_docker_s_is_taken_from_a_file() {
    let supervisor = with_image();
    let profile = supervisor.dir().join("profile.json");
    fs::write(
        &profile,
        r#"{
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
            ],
            "syscalls": [
                {"names": ["mkdir", "mkdirat", "a_call_of_the_future"], "action": "SCMP_ACT_ERRNO", "errno": "EACCES",
                 "comment": "", "includes": {}, "excludes": {"caps": ["CAP_NET_ADMIN"]}}
            ]
        }"#,
    )
    .unwrap();
    let option = format!("seccomp={}", profile.display());
    let options = ["--security-opt", &option];
    let (code, _, errors) = shell(&supervisor, &options, "mkdir /tmp/x");
    assert_eq!(code, 1);
    assert!(errors.contains("Permission denied"), "{errors}");
    let more = ["--security-opt", &option, "--cap-add", "NET_ADMIN"];
    let (code, _, errors) = shell(&supervisor, &more, "mkdir /tmp/x");
    assert_eq!(code, 0, "{errors}");
    let missing = ["--security-opt", "seccomp=/no/such/profile.json"];
    let (code, _, errors) = shell(&supervisor, &missing, "true");
    assert_eq!(code, 125);
    assert!(errors.contains("/no/such/profile.json"), "{errors}");
    fs::write(
        &profile,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "unless": {}}"#,
    )
    .unwrap();
    let (code, _, errors) = shell(&supervisor, &options, "true");
    assert_eq!(code, 125);
    assert!(errors.contains("unless"), "{errors}");
    assert_eq!(supervisor.ok(&["ps", "-aq"]), "");
}

#[test]
fn users_and_groups_go_by_name_or_number() {
    let supervisor = super::start();
    let rootfs = supervisor.dir().join("rootfs");
    super::support::rootfs::busybox(&rootfs);
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0::/:/bin/sh\nnobody:x:65534:7::/:/bin/sh\n",
    )
    .unwrap();
    fs::write(
        rootfs.join("etc/group"),
        "root:x:0:\nnogroup:x:8:\nplugdev:x:9:nobody\n",
    )
    .unwrap();
    supervisor.ok(&["image", "import", rootfs.to_str().unwrap(), IMAGE]);
    for (user, expected) in [
        ("nobody", "65534 7 7 9\n"),
        ("nobody:nogroup", "65534 8 8 9\n"),
        ("nobody:55", "65534 55 55 9\n"),
        ("1000:nogroup", "1000 8 8\n"),
        ("1000:55", "1000 55 55\n"),
    ] {
        let script = "echo $(id -u) $(id -g) $(id -G)";
        let (code, out, errors) = shell(&supervisor, &["-u", user], script);
        assert_eq!((code, &*out), (0, expected), "{user}: {errors}");
    }
    for user in ["somebody", "nobody:nosuch", "root:plugdev:x"] {
        let (code, _, errors) = shell(&supervisor, &["-u", user], "true");
        assert_eq!(code, 125, "{user}: {errors}");
    }
    fs::remove_dir_all(rootfs).unwrap();
}
