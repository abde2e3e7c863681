//! Logs: written by the shim, whoever else lives.

use outlive::api::cri::{self, ContainerState};

use crate::life::ready;
use crate::support::poll;
use crate::support::supervisor_calls::stop;

#[test]
fn a_log_is_reopened_after_a_rename() {
    let (supervisor, pod) = ready();
    let script = "i=0; while :; do i=$((i + 1)); echo line $i; usleep 5000; done";
    let id = supervisor.run(&pod, "c", &["/bin/sh", "-c", script]);
    let log = supervisor.log_of("c");
    poll::until("lines", || match std::fs::read_to_string(&log) {
        Ok(text) if text.lines().count() > 5 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let old = log.with_file_name("old");
    std::fs::rename(&log, &old).unwrap();
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(
        runtime.reopen_container_log(cri::ReopenContainerLogRequest {
            container_id: id.clone(),
        }),
    );
    supervisor.expect(answer);
    let old_length = std::fs::metadata(&old).unwrap().len();
    poll::until("lines in the new file", || {
        match std::fs::read_to_string(&log) {
            Ok(text) if text.lines().count() > 5 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    stop(&supervisor, &id, 0).unwrap();
    assert_eq!(std::fs::metadata(&old).unwrap().len(), old_length);
    let all = std::fs::read_to_string(&old).unwrap() + &std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = all.lines().filter(|line| line.contains(" F ")).collect();
    for (number, line) in lines.iter().enumerate() {
        assert!(
            line.ends_with(&format!("line {}", number + 1)),
            "{number}: {line}"
        );
    }
}

#[test]
fn every_line_is_there_while_the_supervisor_is_dead() {
    let (mut supervisor, pod) = ready();
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); echo line $i; done";
    let id = supervisor.run(&pod, "c", &["/bin/sh", "-c", script]);
    supervisor.kill9();
    let log = supervisor.log_of("c");
    poll::until("the last line, with nobody there", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.ends_with(" line 20000\n") {
            Ok(())
        } else {
            Err(text.lines().count().to_string())
        }
    });
    supervisor.restart();
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!(ended.exit_code, 0);
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 20000);
    for (number, line) in text.lines().enumerate() {
        assert!(
            line.ends_with(&format!(" F line {}", number + 1)),
            "{number}: {line}"
        );
    }
}
