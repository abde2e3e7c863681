//! Which fields are found, and that every method is looked at.

use std::collections::HashMap;

use super::*;

fn found(name: &str, message: &[u8]) -> Vec<FieldPath> {
    let method = METHODS.iter().find(|method| method.name == name).unwrap();
    let known = KnownFields::default();
    let first = known.unknown(method, message);
    assert_eq!(known.unknown(method, message), first, "the second time");
    first
}

/// A request with fields of every kind, nested as deep as CRI has them.
fn request() -> cri::CreateContainerRequest {
    let notes = HashMap::from([("ключ".to_owned(), "\x12\x02hi".to_owned())]);
    cri::CreateContainerRequest {
        pod_sandbox_id: "0123".into(),
        config: Some(cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: "c".into(),
                attempt: 7,
            }),
            image: Some(cri::ImageSpec {
                image: "busybox".into(),
                annotations: notes.clone(),
                ..Default::default()
            }),
            command: vec![
                "\x0a\x01a".into(),
                String::new(),
                "%\x00\x00\x00\x00".into(),
            ],
            envs: vec![cri::KeyValue {
                key: "A".into(),
                value: "\x3a\x00".into(),
            }],
            mounts: vec![cri::Mount {
                container_path: "/a".into(),
                readonly: true,
                uid_mappings: vec![cri::IdMapping {
                    host_id: u32::MAX,
                    ..Default::default()
                }],
                image: Some(cri::ImageSpec::default()),
                ..Default::default()
            }],
            labels: notes.clone(),
            annotations: notes.clone(),
            tty: true,
            linux: Some(cri::LinuxContainerConfig {
                resources: Some(cri::LinuxContainerResources {
                    cpu_quota: -1,
                    hugepage_limits: vec![cri::HugepageLimit {
                        page_size: "2MB".into(),
                        limit: u64::MAX,
                    }],
                    unified: notes.clone(),
                    ..Default::default()
                }),
                security_context: Some(cri::LinuxContainerSecurityContext {
                    capabilities: Some(cri::Capability {
                        add_capabilities: vec!["ALL".into()],
                        ..Default::default()
                    }),
                    namespace_options: Some(cri::NamespaceOption {
                        userns_options: Some(cri::UserNamespace::default()),
                        ..Default::default()
                    }),
                    run_as_user: Some(cri::Int64Value { value: 0 }),
                    supplemental_groups: vec![1, i64::MAX, 3000],
                    seccomp: Some(cri::SecurityProfile::default()),
                    ..Default::default()
                }),
            }),
            windows: Some(cri::WindowsContainerConfig::default()),
            cdi_devices: vec![cri::CdiDevice { name: "x".into() }],
            ..Default::default()
        }),
        sandbox_config: Some(cri::PodSandboxConfig {
            port_mappings: vec![cri::PortMapping {
                host_port: -1,
                ..Default::default()
            }],
            linux: Some(cri::LinuxPodSandboxConfig {
                sysctls: notes,
                ..Default::default()
            }),
            ..Default::default()
        }),
    }
}

/// `message` with one more field at `path`, beside what is there.
fn with_field(message: &[u8], path: &[u32], wire: u8, value: &[u8]) -> Vec<u8> {
    [message, &probe(path, wire, value)].concat()
}

#[test]
fn a_request_of_this_protocol_has_no_unknown_field() {
    assert_eq!(
        found("CreateContainer", &request().encode_to_vec()),
        [[0; 0]; 0]
    );
    let empty_lengths = with_field(&[], &[2, 15, 2, 8], LENGTH, &[0]);
    assert!(found("CreateContainer", &empty_lengths).is_empty());
}

#[test]
fn unknown_fields_are_found_wherever_they_are() {
    let message = request().encode_to_vec();
    for path in [
        &[9][..],
        &[2, 18],
        &[2, 7, 10],
        &[2, 2, 99],
        &[2, 15, 2, 3, 5, 77],
        &[3, 8, 536_870_911],
    ] {
        for (wire, value) in [
            (VARINT, &[15][..]),
            (BITS_64, &[0; 8]),
            (BITS_32, &[0; 4]),
            (LENGTH, &[3, 0xff, 0, 0x07]),
            (GROUP, &[]),
        ] {
            let message = with_field(&message, path, wire, value);
            assert_eq!(found("CreateContainer", &message), [path], "{wire}");
        }
    }
}

#[test]
fn every_field_number_is_known_or_not_as_the_protocol_has_it() {
    let numbers = |name: &str, above: &[u32]| -> Vec<u32> {
        let known = |number: &u32| {
            let path = [above, &[*number]].concat();
            let message = probe(&path, VARINT, &[1]);
            found(name, &message).is_empty()
        };
        (1..100).filter(known).collect()
    };
    let up_to = |last: u32| (1..=last).collect::<Vec<_>>();
    assert_eq!(numbers("CreateContainer", &[]), up_to(3));
    assert_eq!(numbers("CreateContainer", &[2]), up_to(17));
    assert_eq!(numbers("CreateContainer", &[2, 7]), up_to(9));
    assert_eq!(numbers("CreateContainer", &[2, 15]), up_to(2));
    assert_eq!(numbers("CreateContainer", &[2, 15, 2]), up_to(17));
    assert_eq!(numbers("RunPodSandbox", &[1]), up_to(9));
    assert_eq!(numbers("Version", &[]), up_to(1));
    assert_eq!(numbers("ImageFsInfo", &[]), [0; 0]);
}

#[test]
fn a_malformed_or_huge_request_ends_the_search() {
    for bytes in [
        &[0xff; 20][..],
        &[0x0a, 0x7f],
        &[0x0f],
        &[0x12, 0x02, 0x92, 0x01],
    ] {
        assert!(found("CreateContainer", bytes).len() <= 1, "{bytes:?}");
    }
    let many: Vec<u8> = (100..200)
        .flat_map(|number| probe(&[number], VARINT, &[1]))
        .collect();
    assert_eq!(found("Version", &many).len(), MAX_FOUND);
}

proptest::proptest! {
    #[test]
    fn any_bytes_come_to_an_end(bytes: Vec<u8>) {
        for message in [bytes.clone(), probe(&[2, 7, 9], LENGTH, &bytes), [request().encode_to_vec(), bytes].concat()] {
            proptest::prop_assert!(found("CreateContainer", &message).len() <= MAX_FOUND);
        }
    }
}

#[test]
fn every_method_is_looked_at() {
    let sources = [include_str!("runtime.rs"), include_str!("image.rs")].concat();
    let mut served: Vec<&str> = sources
        .split("Request<cri::")
        .skip(1)
        .filter_map(|rest| rest.split('>').next())
        .collect();
    served.sort_unstable();
    served.dedup();
    let mut looked_at: Vec<_> = METHODS.iter().map(|method| method.request).collect();
    looked_at.sort_unstable();
    assert_eq!(served, looked_at);
    assert_eq!(
        method("/runtime.v1.ImageService/PullImage").unwrap().name,
        "PullImage"
    );
    assert!(method("/outlive.v1.Control/Kill").is_none());
    assert!(method("/runtime.v1.Other/Version").is_none());
}

#[test]
fn only_what_changes_a_container_is_refused() {
    let method = method("/runtime.v1.RuntimeService/CreateContainer").unwrap();
    let told = refusal(method, &[2, 18]).unwrap();
    assert!(told.contains("config.stop_signal"), "{told}");
    let told = refusal(method, &[2, 7, 11]).unwrap();
    assert!(told.contains("config.mounts: field number 11"), "{told}");
    for path in [&[4][..], &[2, 2, 20], &[2, 7, 9, 20], &[3, 20], &[2, 15, 3]] {
        assert_eq!(refusal(method, path), None, "{path:?}");
    }
}

#[test]
fn many_unknown_fields_do_not_hide_one_that_is_refused() {
    let mut message = request().encode_to_vec();
    // The same field again and again, and then more different ones than are told.
    let told = [1_u32; 40].into_iter().chain(1..=40);
    for number in told.map(|number| 900 + number) {
        message = with_field(&message, &[2, 1, number], VARINT, &[1]);
    }
    message = with_field(&message, &[2, 18], VARINT, &[15]);
    let found = found("CreateContainer", &message);
    assert_eq!(found.len(), MAX_FOUND + 1, "{found:?}");
    assert!(found.contains(&vec![2, 18]), "{found:?}");
}
