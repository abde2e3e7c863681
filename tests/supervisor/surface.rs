//! What CRI's calls answer about images, statistics and the supervisor's own view of a container.

use std::fs;

use outlive::api::cri;
use tonic::Code;

use crate::life::ready;
use crate::support::poll;
use crate::support::supervisor::{IMAGE, Options, Supervisor};
use crate::support::supervisor_calls::{pid, stats};

fn spec(image: &str) -> Option<cri::ImageSpec> {
    Some(cri::ImageSpec {
        image: image.to_owned(),
        ..Default::default()
    })
}

fn images(supervisor: &Supervisor, filter: &str) -> Vec<cri::Image> {
    let (_, mut images) = supervisor.client();
    let request = cri::ListImagesRequest {
        filter: (!filter.is_empty()).then(|| cri::ImageFilter {
            image: spec(filter),
        }),
    };
    let listed = supervisor.wait(images.list_images(request));
    supervisor.expect(listed).images
}

#[test]
fn an_image_is_listed_found_and_removed_and_its_layers_stay_while_a_container_has_them() {
    let (supervisor, pod) = ready();
    let (_, mut service) = supervisor.client();
    let all = images(&supervisor, "");
    assert_eq!(all.len(), 1, "{all:?}");
    let id = all[0].id.clone();
    assert_eq!(all[0].repo_tags, [IMAGE]);
    assert!(all[0].size > 100_000);
    assert_eq!(images(&supervisor, IMAGE), all);
    assert!(images(&supervisor, "no/such:image").is_empty());

    let mut status = |name: &str| {
        let request = cri::ImageStatusRequest {
            image: spec(name),
            verbose: true,
        };
        supervisor.wait(service.image_status(request))
    };
    let found = supervisor.expect(status(&id));
    assert_eq!(found.image.unwrap(), all[0]);
    let info: serde_json::Value = serde_json::from_str(&found.info["info"]).unwrap();
    let layer = info["layers"][0].as_str().unwrap().to_owned();
    assert_eq!(supervisor.expect(status("no/such:image")).image, None);
    assert_eq!(status("").unwrap_err().code(), Code::InvalidArgument);

    let (_, mut service) = supervisor.client();
    let mut pull = |name: &str| {
        let request = cri::PullImageRequest {
            image: spec(name),
            ..Default::default()
        };
        supervisor.wait(service.pull_image(request))
    };
    assert_eq!(supervisor.expect(pull(IMAGE)).image_ref, id);
    let refused = pull("no/such:image").unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(
        refused.message().contains("outlive image load"),
        "{refused}"
    );

    let (_, mut service) = supervisor.client();
    let usage = supervisor.wait(service.image_fs_info(cri::ImageFsInfoRequest {}));
    let usage = supervisor.expect(usage).image_filesystems;
    assert!(usage[0].used_bytes.unwrap().value >= 100_000, "{usage:?}");

    let files = supervisor.root().join("images/layers").join(layer);
    let container = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let mut remove = |name: &str| {
        let request = cri::RemoveImageRequest { image: spec(name) };
        let removed = supervisor.wait(service.remove_image(request));
        supervisor.expect(removed);
    };
    remove(&id);
    remove(&id);
    assert!(images(&supervisor, "").is_empty());
    assert!(files.exists());
    crate::support::supervisor_calls::remove(&supervisor, &container).unwrap();
    supervisor.load_busybox();
    remove(IMAGE);
    poll::until("the layer is gone", || match files.exists() {
        true => Err(format!("{files:?}")),
        false => Ok(()),
    });
}

#[test]
fn a_status_shows_the_name_of_its_image_however_the_request_named_it() {
    let (supervisor, pod) = ready();
    let id = images(&supervisor, IMAGE)[0].id.clone();
    let digits = id.strip_prefix("sha256:").unwrap();
    let cases = [
        ("by-name", IMAGE, "", IMAGE),
        ("by-id", &id, "", IMAGE),
        ("by-digits", &digits[..12], "", IMAGE),
        // As kubelet asks.
        ("as-kubelet", &id, "busybox:1.36", "busybox:1.36"),
    ];
    let containers: Vec<_> = cases
        .iter()
        .map(|(name, image, specified, expected)| {
            let mut config = supervisor.container_config(name, &["/bin/true"]);
            config.image = Some(cri::ImageSpec {
                image: (*image).to_owned(),
                user_specified_image: (*specified).to_owned(),
                ..Default::default()
            });
            (supervisor.create_as(&pod, config), expected)
        })
        .collect();
    let check = || {
        for (container, expected) in &containers {
            let status = supervisor.status(container);
            assert_eq!(status.image.unwrap().image, **expected);
            assert_eq!(status.image_id, id);
        }
    };
    check();
    // A name that the image loses later stays the one that was asked for.
    let (_, mut service) = supervisor.client();
    let removed =
        supervisor.wait(service.remove_image(cri::RemoveImageRequest { image: spec(IMAGE) }));
    supervisor.expect(removed);
    check();
}

#[test]
fn statistics_are_those_of_the_containers_own_processes_and_files() {
    let (supervisor, pod) = ready();
    let busy = "dd if=/dev/zero of=/file bs=1024 count=4096 2>/dev/null; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 1000";
    let id = supervisor.run(&pod, "busy", &["/bin/sh", "-c", busy]);
    let pid = pid(&supervisor, &id);
    poll::until(
        "the container is one process at rest",
        || match fs::read_to_string(format!("/proc/{pid}/cmdline")).as_deref() {
            Ok("sleep\x001000\x00") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    let idle = supervisor.create(&pod, "idle", &["/bin/true"]);
    let (mut runtime, _) = supervisor.client();
    let stats = poll::until("the container has used something", || {
        let stats = stats(&supervisor, &id);
        let cpu = stats
            .cpu
            .as_ref()
            .and_then(|cpu| cpu.usage_core_nano_seconds);
        let memory = stats.memory.as_ref().and_then(|one| one.working_set_bytes);
        match (cpu, memory) {
            (Some(cpu), Some(memory)) if cpu.value > 10_000_000 && memory.value > 0 => Ok(stats),
            _ => Err(format!("{stats:?}")),
        }
    });
    assert_eq!(stats.attributes.unwrap().metadata.unwrap().name, "busy");
    let layer = stats.writable_layer.unwrap();
    assert!(layer.inodes_used.unwrap().value >= 1);

    let listed = supervisor.wait(
        runtime.list_container_stats(cri::ListContainerStatsRequest {
            filter: Some(cri::ContainerStatsFilter {
                pod_sandbox_id: pod.clone(),
                ..Default::default()
            }),
        }),
    );
    let listed = supervisor.expect(listed).stats;
    assert_eq!(listed.len(), 2);
    let idle = listed
        .iter()
        .find(|one| one.attributes.as_ref().unwrap().id == idle);
    assert_eq!(idle.unwrap().cpu, None);

    let request = cri::PodSandboxStatsRequest {
        pod_sandbox_id: pod,
    };
    let answer = supervisor.wait(runtime.pod_sandbox_stats(request));
    let linux = supervisor.expect(answer).stats.unwrap().linux.unwrap();
    assert_eq!(linux.containers.len(), 2);
    assert_eq!(linux.process.unwrap().process_count.unwrap().value, 1);
    assert_eq!(linux.network, None, "the host's network is not the pod's");
}

#[test]
fn a_verbose_status_says_where_everything_of_a_container_is() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.container_status(cri::ContainerStatusRequest {
        container_id: id,
        verbose: true,
    }));
    let info = supervisor.expect(answer).info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    let pid = info["pid"].as_u64().unwrap();
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(command, "/bin/sleep\x001000\x00");
    assert_eq!(info["sandboxID"], pod);
    assert_eq!(info["runtime"], "outlive");
    assert_eq!(info["shim"]["connected"], true);
    assert!(
        info["shim"]["address"]
            .as_str()
            .unwrap()
            .starts_with("unix:///")
    );
    for file in ["bundle", "dir", "spec"] {
        let path = info[file].as_str().unwrap();
        assert!(fs::metadata(path).is_ok(), "{file}: {path}");
    }
}

#[test]
fn the_file_systems_of_images_and_containers_are_there_from_the_start_with_a_figure_each() {
    let supervisor = Supervisor::start(Options::default());
    let usage = || {
        let (_, mut service) = supervisor.client();
        let usage = supervisor.wait(service.image_fs_info(cri::ImageFsInfoRequest {}));
        let usage = supervisor.expect(usage);
        let only = |all: Vec<cri::FilesystemUsage>| {
            assert_eq!(all.len(), 1);
            let usage = &all[0];
            let directory = usage.fs_id.as_ref().unwrap().mountpoint.clone();
            assert!(std::path::Path::new(&directory).is_dir(), "{directory}");
            (directory, usage.used_bytes.unwrap().value)
        };
        (
            only(usage.image_filesystems),
            only(usage.container_filesystems),
        )
    };
    let (images, containers) = usage();
    // Kubelet takes two names for two disks.
    assert_eq!(images.0, containers.0);
    assert_eq!((images.1, containers.1), (0, 0));
    supervisor.load_busybox();
    let pod = supervisor.run_pod("p");
    let script = "head -c 300000 /dev/zero >/file; exec sleep 1000";
    supervisor.run(&pod, "c", &["/bin/sh", "-c", script]);
    poll::until("the file is counted", || {
        let (images, containers) = usage();
        // The image is larger than what is written.
        let seen = images.1 > containers.1 && containers.1 >= 300_000;
        seen.then_some(())
            .ok_or_else(|| format!("{images:?} {containers:?}"))
    });
}
