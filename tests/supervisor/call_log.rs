//! The log has one line for each call that was refused or failed, and none of what a container was given.

use std::time::Duration;

use outlive::api::cri::{self, ContainerState};
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use crate::life::ready;
use crate::support::poll;
use crate::support::supervisor::Supervisor;
use crate::support::supervisor_calls::{remove, stop};

/// The lines of calls in the supervisor's log.
fn lines(supervisor: &Supervisor) -> Vec<String> {
    let log = std::fs::read_to_string(supervisor.dir().join("log")).unwrap();
    let is_call = |line: &&str| line.contains(" a call ");
    log.lines().filter(is_call).map(str::to_owned).collect()
}

/// The one line of a call that answered `status`, with this level, method and subject.
#[track_caller]
fn assert_one_line(supervisor: &Supervisor, words: [&str; 3], status: &tonic::Status) {
    let [level, method, subject] = words;
    let (method, code) = (
        format!(" method={method} "),
        format!(" code={:?} ", status.code()),
    );
    let found: Vec<String> = poll::until("the call has its line", || {
        let mut all = lines(supervisor);
        all.retain(|line| line.contains(&method) && line.contains(&code));
        if all.is_empty() {
            Err(lines(supervisor).join("\n"))
        } else {
            Ok(all)
        }
    });
    assert_eq!(found.len(), 1, "{found:#?}");
    let line = &found[0];
    assert!(line.contains(&format!(" {level} ")), "{line}");
    assert!(line.contains(&format!(" subject={subject} ")), "{line}");
    let message = format!(" error={:?} ", status.message());
    let bare = format!(" error={} ", status.message());
    assert!(line.contains(&message) || line.contains(&bare), "{line}");
    let duration = line.rsplit_once(" milliseconds=").unwrap().1;
    duration.parse::<u64>().unwrap();
}

fn named(id: &str) -> cri::StartContainerRequest {
    cri::StartContainerRequest {
        container_id: id.to_owned(),
    }
}

#[test]
fn each_refused_call_is_one_line_and_an_answered_one_is_none() {
    let (supervisor, pod) = ready();
    let (mut runtime, mut images) = supervisor.client();
    let version = supervisor.wait(runtime.version(cri::VersionRequest::default()));
    supervisor.expect(version);
    stop(&supervisor, "nobody", 0).unwrap();
    assert_eq!(lines(&supervisor), [""; 0]);

    let refused = supervisor.wait(runtime.start_container(named("nobody")));
    let words = ["INFO", "StartContainer", "nobody"];
    assert_one_line(&supervisor, words, &refused.unwrap_err());

    let refused = stop(&supervisor, "nobody", -1).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_one_line(&supervisor, ["INFO", "StopContainer", "nobody"], &refused);

    let refused = supervisor.wait(runtime.exec(cri::ExecRequest {
        container_id: "c1".into(),
        cmd: vec!["argument-of-exec".into()],
        ..Default::default()
    }));
    assert_one_line(&supervisor, ["INFO", "Exec", "c1"], &refused.unwrap_err());

    let refused = supervisor.wait(runtime.run_pod_sandbox(cri::RunPodSandboxRequest {
        config: Some(supervisor.pod_config("web")),
        runtime_handler: "none".into(),
    }));
    let words = ["INFO", "RunPodSandbox", "default/web"];
    assert_one_line(&supervisor, words, &refused.unwrap_err());

    let mut config = supervisor.container_config("app", &["/bin/true"]);
    config.image.get_or_insert_default().image = "no/such:image".into();
    let refused = supervisor.wait(runtime.create_container(cri::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(config),
        sandbox_config: Some(supervisor.pod_config("pod")),
    }));
    let words = ["INFO", "CreateContainer", &format!("{pod}/app")];
    assert_one_line(&supervisor, words, &refused.unwrap_err());

    let refused = supervisor.wait(images.pull_image(cri::PullImageRequest {
        image: Some(cri::ImageSpec {
            image: "no/such:image".into(),
            ..Default::default()
        }),
        auth: Some(cri::AuthConfig {
            password: "password-of-pull".into(),
            ..Default::default()
        }),
        ..Default::default()
    }));
    let words = ["INFO", "PullImage", "no/such:image"];
    assert_one_line(&supervisor, words, &refused.unwrap_err());

    let listed = supervisor.wait(runtime.list_containers(cri::ListContainersRequest::default()));
    supervisor.expect(listed);
    assert_eq!(lines(&supervisor).len(), 6, "{:#?}", lines(&supervisor));
    let log = std::fs::read_to_string(supervisor.dir().join("log")).unwrap();
    for secret in ["argument-of-exec", "password-of-pull"] {
        assert!(!log.contains(secret), "{secret}:\n{log}");
    }
}

#[test]
fn calls_that_no_method_sees_have_their_line() {
    let (supervisor, _) = ready();
    let address = format!("unix://{}", supervisor.socket().display());
    let endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
    let call = async |path: &'static str, payload: cri::ImageSpec| {
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        let codec = ProstCodec::<cri::ImageSpec, cri::VersionResponse>::default();
        let path = PathAndQuery::from_static(path);
        let answer = client.unary(tonic::Request::new(payload), path, codec);
        answer.await.unwrap_err()
    };
    let refused = supervisor.wait(call(
        "/runtime.v1.RuntimeService/NoSuch",
        Default::default(),
    ));
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_one_line(&supervisor, ["INFO", "NoSuch", "-"], &refused);
    let refused = supervisor.wait(call("/outlive.v1.Control/Neither", Default::default()));
    assert_one_line(&supervisor, ["INFO", "Neither", "-"], &refused);
    // The second field of StopContainer is a number.
    let spec = cri::ImageSpec {
        image: "c1".into(),
        annotations: [("a".to_owned(), "b".to_owned())].into(),
        ..Default::default()
    };
    let refused = supervisor.wait(call("/runtime.v1.RuntimeService/StopContainer", spec));
    assert_eq!(refused.code(), Code::Internal);
    assert_one_line(&supervisor, ["WARN", "StopContainer", "c1"], &refused);
}

#[test]
fn a_refused_stream_has_its_line_and_one_that_its_client_closes_has_none() {
    let (supervisor, _) = ready();
    let (mut runtime, _) = supervisor.client();
    let mut streams = Vec::new();
    let refused = loop {
        let asked = runtime.get_container_events(cri::GetEventsRequest {});
        match supervisor.wait(asked) {
            Ok(stream) => streams.push(stream),
            Err(refused) => break refused,
        }
        assert!(streams.len() < 1000);
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_one_line(&supervisor, ["WARN", "GetContainerEvents", "-"], &refused);
    drop(streams);
    poll::until("the streams are closed", || {
        let asked = runtime.get_container_events(cri::GetEventsRequest {});
        supervisor
            .wait(asked)
            .map(drop)
            .map_err(|status| status.to_string())
    });
    let others = lines(&supervisor);
    let is_refusal = |line: &String| line.contains("code=ResourceExhausted");
    assert!(others.iter().all(is_refusal), "{others:#?}");
}

#[test]
fn a_failed_start_and_a_call_that_was_given_up_have_their_lines_without_arguments_or_environment() {
    let (supervisor, pod) = ready();
    let (mut runtime, _) = supervisor.client();
    let mut config = supervisor.container_config("c", &["/no/such/program", "argument-of-run"]);
    config.envs.push(cri::KeyValue {
        key: "NAME".into(),
        value: "value-of-environment".into(),
    });
    let fails = supervisor.create_as(&pod, config);
    let failed = supervisor.wait(runtime.start_container(named(&fails)));
    let failed = failed.unwrap_err();
    assert_one_line(&supervisor, ["WARN", "StartContainer", &fails], &failed);

    let mut config = supervisor.container_config("d", &["/bin/sleep", "1000"]);
    config.envs.push(cri::KeyValue {
        key: "NAME".into(),
        value: "value-of-environment".into(),
    });
    let runs = supervisor.create_as(&pod, config);
    supervisor.start_container(&runs);
    let mut exec = tonic::Request::new(cri::ExecSyncRequest {
        container_id: runs.clone(),
        cmd: ["/bin/sh", "-c", "sleep 1001", "argument-of-exec"]
            .map(str::to_owned)
            .into(),
        timeout: 0,
    });
    exec.set_timeout(Duration::from_millis(500));
    supervisor.wait(runtime.exec_sync(exec)).unwrap_err();
    let subject = format!(" subject={runs} ");
    let found = poll::until("the call has its line", || {
        let mut all = lines(&supervisor);
        all.retain(|line| line.contains(" method=ExecSync ") && line.contains(&subject));
        if all.is_empty() {
            Err(supervisor.log_tail())
        } else {
            Ok(all)
        }
    });
    let [line] = &found[..] else {
        panic!("{found:#?}");
    };
    assert!(line.contains(" INFO a call was given up: "), "{line}");
    remove(&supervisor, &runs).unwrap();
    supervisor.until_state(&fails, ContainerState::ContainerExited);
    remove(&supervisor, &fails).unwrap();
    let log = std::fs::read_to_string(supervisor.dir().join("log")).unwrap();
    for secret in [
        "argument-of-run",
        "argument-of-exec",
        "value-of-environment",
    ] {
        assert!(!log.contains(secret), "{secret}:\n{log}");
    }
}
