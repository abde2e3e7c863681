//! A manager that goes and comes back: its connection, and its end of the fifos.

use crate::fifo::make;
use crate::fifo_reader::{FifoReader, STEADY_WRITER, assert_not_held_up, numbers};
use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use containerd_shim_protos::api::{DeleteRequest, DeleteResponse};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Request;
use std::time::{Duration, Instant};

fn to(path: &std::path::Path) -> Stdio {
    Stdio {
        stdout: path.display().to_string(),
        ..Stdio::default()
    }
}

fn comes(reader: &FifoReader, length: usize) {
    eventually("output", || match reader.length() {
        come if come >= length => Ok(()),
        come => Err(format!("{come} of {length} bytes")),
    });
}

fn lasts(time: Duration) {
    let since = Instant::now();
    eventually("time passes", || {
        let lasted = since.elapsed();
        if lasted >= time {
            Ok(())
        } else {
            Err(format!("{lasted:?}"))
        }
    });
}

#[test]
fn a_steady_writer_does_not_notice_that_its_manager_restarts_again_and_again() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", STEADY_WRITER);
    let out = make(&c.bundle.join("out"));
    c.set_stdio(&to(&out));
    let mut manager = c.client.connection().unwrap();
    c.create().unwrap();
    c.start().unwrap();
    let mut reader = FifoReader::of(&out);
    for _ in 0..3 {
        reader.come();
        comes(&reader, reader.length() + 5_000);
        drop(manager);
        reader.leave();
        lasts(Duration::from_secs(2));
        manager = c.client.connection().unwrap();
        // The manager is there some time before it reads.
        lasts(Duration::from_secs(1));
    }
    reader.come();
    comes(&reader, reader.length() + 20_000);
    std::fs::write(lab.dir.join("rootfs/stop"), "").unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 7);
    eventually("end of output", || match reader.at_end() {
        true => Ok(()),
        false => Err(format!("{} bytes", reader.length())),
    });
    let told = |name: &str| -> usize {
        let text = std::fs::read_to_string(lab.dir.join("rootfs").join(name)).unwrap();
        text.trim().parse().unwrap()
    };
    let lines = numbers(&reader.take());
    assert_eq!(lines, told("count"));
    assert_not_held_up(told);
    c.delete().unwrap();
    drop(manager);
}

#[test]
fn what_was_written_in_an_outage_is_there_for_who_comes_after_the_exit() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "seq 0 999999");
    let out = make(&c.bundle.join("out"));
    c.set_stdio(&to(&out));
    c.create().unwrap();
    c.start().unwrap();
    // Each call is a connection of its own, so nobody stays connected.
    eventually("the end", || match c.status() {
        containerd_shim_protos::api::Status::STOPPED => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let mut reader = FifoReader::of(&out);
    reader.come();
    eventually("end of output", || match reader.at_end() {
        true => Ok(()),
        false => Err(format!("{} bytes", reader.length())),
    });
    assert_eq!(numbers(&reader.take()), 1_000_000);
    c.delete().unwrap();
}

/// The pipe is full and so is the fifo: what the reader will not take is no reason for Delete to wait.
#[test]
fn delete_does_not_wait_for_a_reader_that_never_comes_and_the_shim_does_for_a_while() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec seq 0 99999999");
    let out = make(&c.bundle.join("out"));
    c.set_stdio(&to(&out));
    let manager = c.client.connection().unwrap();
    c.create().unwrap();
    c.start().unwrap();
    lasts(Duration::from_millis(500));
    c.kill(9).unwrap();
    c.wait().unwrap();
    let begun = Instant::now();
    c.delete().unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let pid = leaks::listener(&c).unwrap();
    c.end();
    drop(manager);
    leaks::gone(pid);
    eventually("it says so", || match lab.log() {
        log if log.contains("the last bytes are lost") => Ok(()),
        log => Err(format!("{:?} after Delete: {log}", begun.elapsed())),
    });
}

/// A grandchild of the exec holds its stdout: the drain would go on for ten seconds, and the caller is there for three.
#[test]
fn delete_answers_before_its_caller_gives_up() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let out = make(&c.bundle.join("out"));
    let exec = c.exec("e1");
    let script = crate::spec::process("sleep 1000 & echo said");
    exec.add(&script, &to(&out)).unwrap();
    let mut reader = FifoReader::of(&out);
    exec.start().unwrap();
    reader.come();
    exec.wait().unwrap();
    comes(&reader, 5);
    let mut connection = c.client.connection().unwrap();
    let body = request!(DeleteRequest {
        id: "c1",
        exec_id: "e1"
    });
    let mut request = Request::new();
    request.service.clone_from(&c.client.service);
    request.method = "Delete".to_owned();
    request.payload = body.write_to_bytes().unwrap();
    request.timeout_nano = 3_000_000_000;
    let begun = Instant::now();
    let frame = request.write_to_bytes().unwrap();
    write_frame(&mut connection.stream, 1, 1, &frame).unwrap();
    let answer = connection.receive::<DeleteResponse>(1).unwrap();
    let took = begun.elapsed();
    assert_eq!(answer.unwrap().exit_status, 0);
    assert!((2000..3000).contains(&took.as_millis()), "{took:?}");
    eventually("the reader's EOF", || match reader.at_end() {
        true => Ok(()),
        false => Err("none".to_owned()),
    });
    assert_eq!(reader.take(), b"said\n");
}
