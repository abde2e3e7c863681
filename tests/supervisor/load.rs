//! Many at once.

use outlive::api::cri::{self, ContainerState};

use crate::life::ready;
use crate::support::supervisor_calls::listed;

#[test]
fn two_hundred_parallel_calls_are_fine() {
    let (supervisor, pod) = ready();
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let (mut runtime, _) = supervisor.client();
            let request = cri::CreateContainerRequest {
                pod_sandbox_id: pod.clone(),
                config: Some(supervisor.container_config(&format!("c{number}"), &["/bin/true"])),
                sandbox_config: Some(supervisor.pod_config("pod")),
            };
            supervisor
                .handle()
                .spawn(async move { runtime.create_container(request).await })
        })
        .collect();
    let ids: Vec<String> = calls
        .into_iter()
        .map(|call| {
            supervisor
                .expect(supervisor.wait(call).unwrap())
                .container_id
        })
        .collect();
    assert_eq!(listed(&supervisor).len(), 200);
    for id in &ids {
        supervisor.note(id);
    }
    let starts: Vec<_> = ids[..20]
        .iter()
        .map(|id| {
            let (mut runtime, _) = supervisor.client();
            let container_id = id.clone();
            supervisor.handle().spawn(async move {
                runtime
                    .start_container(cri::StartContainerRequest { container_id })
                    .await
            })
        })
        .collect();
    for start in starts {
        supervisor.expect(supervisor.wait(start).unwrap());
    }
    for id in &ids[..20] {
        supervisor.until_state(id, ContainerState::ContainerExited);
    }
}
