//! The built-in filter: a list of what is allowed, and everything else fails with EPERM.
//!
//! What is on the list follows containerd's default profile (`contrib/seccomp/seccomp_default.go`) and Docker's, which
//! it descends from (moby's `profiles/seccomp`), in a form of our own: by what the calls are for. Like theirs of late
//! it lacks io_uring and vsock sockets, which reach too much of the kernel, or the host. It takes a kernel of 4.8 or
//! later, where ptrace(2) is subject to the filter; process_vm_readv(2) and its like take the same permission as that.
//!
//! Names that the machine's libseccomp does not know, of newer calls or other processors, are passed over by the OCI
//! runtime: they cannot be allowed then.

use std::collections::HashSet;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};

/// Allowed whatever the container's capabilities are; the kernel checks those itself.
const ALWAYS: [&str; 12] = [
    // Files by name.
    "access chdir chmod chown chown32 creat faccessat faccessat2 fchmodat fchmodat2 fchownat futimesat getcwd \
     getxattr getxattrat inotify_add_watch lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr \
     lremovexattr lsetxattr mkdir mkdirat mknod mknodat name_to_handle_at open openat openat2 readlink readlinkat \
     removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat symlink symlinkat truncate \
     truncate64 unlink unlinkat utime utimensat utimensat_time64 utimes",
    // What is said of files.
    "cachestat fstat fstat64 fstatat64 fstatfs fstatfs64 lstat lstat64 newfstatat stat stat64 statfs \
     statfs64 statx umask",
    // Open files.
    "_llseek close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir \
     fchmod fchown fchown32 fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fsync ftruncate \
     ftruncate64 getdents getdents64 inotify_init inotify_init1 inotify_rm_watch ioctl lseek pipe pipe2 pread64 preadv \
     preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee \
     vmsplice write writev",
    // Waiting for them.
    "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old \
     eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4",
    // Asynchronous I/O of the old kind.
    "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit",
    // Sockets; socket(2) itself is below.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 \
     recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair",
    // Memory.
    "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall \
     mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect \
     process_mrelease process_vm_readv process_vm_writev remap_file_pages rseq",
    // Processes and threads; clone(2) is below.
    "arch_prctl execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv \
     futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid getsid gettid \
     landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt pidfd_open pidfd_send_signal prctl \
     ptrace restart_syscall seccomp set_robust_list set_thread_area set_tid_address setpgid setsid vfork wait4 waitid \
     waitpid",
    // Who they are.
    "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 \
     getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups \
     setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32",
    // Signals and System V and POSIX messages.
    "ipc kill mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 \
     mq_unlink msgctl msgget msgrcv msgsnd pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
     rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo semctl semget semop semtimedop \
     semtimedop_time64 shmat shmctl shmdt shmget sigaltstack sigprocmask sigreturn tgkill tkill",
    // Time; setting it is below.
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
     clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete \
     timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
     timerfd_gettime64 timerfd_settime timerfd_settime64 times",
    // Limits, scheduling, the machine.
    "getpriority getrandom getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_get_priority_max \
     sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
     sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield \
     setpriority setrlimit sysinfo ugetrlimit uname",
];

/// Allowed with a capability that would be worth nothing without them.
const WITH: [(Capability, &str); 14] = [
    (Capability::Bpf, "bpf"),
    (Capability::DacReadSearch, "open_by_handle_at"),
    (Capability::Perfmon, "perf_event_open"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr perf_event_open \
         quotactl quotactl_fd setdomainname sethostname setns statmount syslog umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (
        Capability::SysModule,
        "delete_module finit_module init_module",
    ),
    (
        Capability::SysNice,
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise"),
    (Capability::SysRawio, "ioperm iopl"),
    (
        Capability::SysTime,
        "clock_settime clock_settime64 settimeofday stime",
    ),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::Syslog, "syslog"),
];

/// The personalities that only change how a program sees the machine: Linux, `ADDR_NO_RANDOMIZE`'s absence is not to
/// be had; 32 bits, uname(2) of 2.6, both, and the question which it is (personality(2)).
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// `CLONE_NEW*` but time: mount, control group, host name, IPC, user, pid, network (clone(2)).
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Where clone(2) has its flags: s390 has the stack first.
const CLONE_FLAGS: usize = if cfg!(target_arch = "s390x") { 1 } else { 0 };
/// Sockets between a virtual machine and its host (vsock(7)).
const AF_VSOCK: u64 = 40;
/// ENOSYS, so that the C library goes on to clone(2), whose flags a filter can see.
const NO_SUCH_CALL: u32 = 38;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: &[Arch] = &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: &[Arch] = &[Arch::ScmpArchAarch64, Arch::ScmpArchArm];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURES: &[Arch] = &[];

/// Calls that one processor needs: cache maintenance, thread pointers, and what a return probe of the kernel has the
/// traced program call (uretprobe, Linux 6.11).
#[cfg(target_arch = "x86_64")]
const OF_THE_PROCESSOR: &str = "uretprobe";
#[cfg(target_arch = "aarch64")]
const OF_THE_PROCESSOR: &str =
    "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2";
#[cfg(target_arch = "riscv64")]
const OF_THE_PROCESSOR: &str = "riscv_flush_icache riscv_hwprobe";
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
const OF_THE_PROCESSOR: &str = "";

fn call(names: &str, action: Action) -> LinuxSyscall {
    let mut call = LinuxSyscall::default();
    call.set_names(names.split_whitespace().map(str::to_owned).collect())
        .set_action(action);
    call
}

/// Allows a call where an argument compares to `value`; masked by it, to 0.
fn when(name: &str, index: usize, operator: Operator, value: u64) -> LinuxSyscall {
    let mut argument = LinuxSeccompArgBuilder::default()
        .index(index)
        .op(operator)
        .value(value);
    if operator == Operator::ScmpCmpMaskedEq {
        argument = argument.value_two(0_u64);
    }
    let mut call = call(name, Action::ScmpActAllow);
    // Every field has a default, so that the builder cannot fail; if it did, no argument would match nothing.
    call.set_args(Some(argument.build().into_iter().collect()));
    call
}

/// The filter of a container whose bounding set is `capabilities`.
pub(super) fn profile(capabilities: &HashSet<Capability>) -> LinuxSeccomp {
    let mut names = ALWAYS.join(" ");
    names.push(' ');
    names.push_str(OF_THE_PROCESSOR);
    let mut calls = vec![call(&names, Action::ScmpActAllow)];
    calls.push(when("socket", 0, Operator::ScmpCmpNe, AF_VSOCK));
    for personality in PERSONALITIES {
        calls.push(when("personality", 0, Operator::ScmpCmpEq, personality));
    }
    for (capability, names) in WITH {
        if capabilities.contains(&capability) {
            calls.push(call(names, Action::ScmpActAllow));
        }
    }
    if !capabilities.contains(&Capability::SysAdmin) {
        calls.push(when(
            "clone",
            CLONE_FLAGS,
            Operator::ScmpCmpMaskedEq,
            NEW_NAMESPACES,
        ));
        let mut refused = call("clone3", Action::ScmpActErrno);
        refused.set_errno_ret(Some(NO_SUCH_CALL));
        calls.push(refused);
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(Action::ScmpActErrno)
        .set_syscalls(Some(calls));
    if !ARCHITECTURES.is_empty() {
        profile.set_architectures(Some(ARCHITECTURES.to_vec()));
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that are allowed or, where `arguments` says so, allowed with certain arguments.
    fn allowed(capabilities: &[Capability]) -> Vec<String> {
        let profile = profile(&capabilities.iter().copied().collect());
        assert_eq!(profile.default_action(), Action::ScmpActErrno);
        let calls = profile.syscalls().clone().unwrap();
        calls
            .iter()
            .filter(|call| call.action() == Action::ScmpActAllow && call.args().is_none())
            .flat_map(|call| call.names().clone())
            .collect()
    }

    #[test]
    fn no_name_is_listed_twice() {
        let names = allowed(&[]);
        let unique: HashSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.len() > 350, "{}", names.len());
        assert!(names.iter().all(|name| !name.is_empty()));
    }

    #[test]
    fn what_leaves_the_container_takes_a_capability() {
        let plain = allowed(&[]);
        for (capability, names) in WITH {
            let more = allowed(&[capability]);
            for name in names.split_whitespace() {
                assert!(!plain.iter().any(|plain| plain == name), "{name}");
                assert!(more.iter().any(|more| more == name), "{name}");
            }
        }
        for name in [
            "socket",
            "personality",
            "clone",
            "clone3",
            "io_uring_setup",
            "keyctl",
            "add_key",
            "userfaultfd",
            "kexec_load",
            "swapon",
            "pivot_root",
            "nfsservctl",
        ] {
            assert!(!plain.iter().any(|plain| plain == name), "{name}");
        }
    }

    #[test]
    fn the_administrator_may_clone_what_others_may_not() {
        let has = |capabilities: &[Capability], text: &str| {
            let profile = profile(&capabilities.iter().copied().collect());
            serde_json::to_string(&profile).unwrap().contains(text)
        };
        let masked = r#"{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}"#;
        let missing = r#"{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}"#;
        for text in [masked, missing] {
            assert!(has(&[], text), "{text}");
            assert!(!has(&[Capability::SysAdmin], text), "{text}");
        }
    }
}
